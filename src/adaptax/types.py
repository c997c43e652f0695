"""The nouns of the library: what flows between task families, learners, collectors and algorithms.

Leading axes always stand in this order and always have these names:

    B tasks · K rounds · N streams · T steps

A *round* is experience under fixed fast weights; between rounds a learner adapts. A *stream* is one
unbroken sequence of steps with one memory. A stream holds one or more *episodes* of the same task.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeAlias

import equinox as eqx
from jaxtyping import Array

Task: TypeAlias = Any  # a pytree, opaque to learners
Theta: TypeAlias = Any  # what meta-training learns, shared by all tasks
Fast: TypeAlias = Any  # one per task, written by `adapt` only
Memory: TypeAlias = Any  # one per stream, written by `act` only
Metrics: TypeAlias = dict[str, Array]


# --- spaces and specifications -----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of `n` actions, an int32 scalar in 0..n-1."""

    n: int

    @property
    def size(self) -> int:
        """Length of the one-hot encoding."""
        return self.n


@dataclasses.dataclass(frozen=True)
class Candidates(Discrete):
    """One of `n` candidates, of each of which a row of the observation [n, features] tells; their order means nothing.

    Policies score each by its row, all with the same weights. Where that is not done, they are the actions of a `Discrete`.
    """

    features: int


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    """Several independent choices, an int32 vector; entry i lies in 0..choices[i]-1."""

    choices: tuple[int, ...]

    @property
    def size(self) -> int:
        """Length of the concatenated one-hot encodings."""
        return sum(self.choices)


@dataclasses.dataclass(frozen=True)
class Box:
    """A real vector between `low` and `high` (entrywise).

    Policies act in units in which every bounded entry spans [-1, 1]; collectors clip to that range and
    scale to the environment's own units. An entry with an infinite bound is handed over unchanged.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self):
        if len(self.low) != len(self.high):
            raise ValueError(f"Box: low has {len(self.low)} entries and high has {len(self.high)}")
        if not all(lo < hi for lo, hi in zip(self.low, self.high, strict=True)):
            raise ValueError(f"Box: every low must be below its high, but low={self.low}, high={self.high}")

    @property
    def size(self) -> int:
        return len(self.low)

    @property
    def bounded(self) -> tuple[bool, ...]:
        """Which entries have two finite bounds."""
        return tuple(
            math.isfinite(lo) and math.isfinite(hi) for lo, hi in zip(self.low, self.high, strict=True)
        )


Space: TypeAlias = Discrete | MultiDiscrete | Box


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a learner must know of a task family before it has seen a task of it."""

    name: str
    """Name on the command line, e.g. `point-navigation`."""
    observation: tuple[int, ...]
    """Shape of one observation, float32. Discrete observations are one-hot."""
    action: Space
    episode_steps: int
    """The longest episode. Collectors truncate an episode that is still running then."""
    episodes: int = 1
    """Episodes in a lifetime of learners that remember (RL² and its kin)."""
    features: int = 0
    """Length of `features(task)`, the vector that tells the oracle which task it is; 0: there is none."""
    masked: bool = False
    """True where some actions are forbidden at times (`TaskFamily.action_mask`)."""
    shared_tasks: bool = False
    """True where the training tasks are the test tasks (two running directions). Reports print it."""
    ood: bool = True
    """False where the family has no out-of-distribution split."""
    support: int = 0
    """Labelled examples that a supervised task may be learned from; 0: the family's tasks are environments.

    `observation` is then the shape of an input, and `action` the space of labels: `Discrete` for classification, an unbounded
    `Box` for regression."""
    embedded: bool = False
    """True where the inputs of a supervised task are what a pretrained encoder says: layers upon it soon fit the classes that were
    trained on alone, and learners' defaults have none."""

    def __post_init__(self):
        if isinstance(self.action, Candidates) and self.observation != (self.action.n, self.action.features):
            raise ValueError(
                f"Spec: of {self.action.n} candidates with {self.action.features} numbers each the observation is "
                f"{(self.action.n, self.action.features)}, not {self.observation}"
            )

    @property
    def supervised(self) -> bool:
        return self.support > 0

    @property
    def images(self) -> bool:
        """True where inputs are labelled images, [height, width, channels]: learners read them by convolutions."""
        return self.supervised and len(self.observation) == 3

    @property
    def measure(self) -> str:
        """What a score of this family is; higher is better."""
        if not self.supervised:
            return "return"
        return "accuracy" if isinstance(self.action, Discrete) else "−squared error"


# --- experience --------------------------------------------------------------------------------


Later = Any
"""An array, or None as long as it is not known. What it may be used for depends on when, which types cannot say."""


class Outcome(eqx.Module):
    """What one environment step brings.

    `obs` is the true next observation, also at the end of an episode. `terminated`: the task's own end, the
    future is worth 0. `truncated`: the episode was cut off, the future goes on unseen. Never both meanings in
    one flag.
    """

    obs: Array
    reward: Array
    terminated: Array
    truncated: Array
    success: Array | None = None
    """True in a step that achieves the task's goal, where the family defines one; an episode that has such a step counts
    as a success."""
    shaped_reward: Array | None = None
    """What meta-training maximises in the reward's place, where the family gives it: the reward may be too sparse to learn from.
    Learners never see it, within a task or without, and evaluation never counts it."""


class Step(eqx.Module):
    """One row of experience, or an array of rows with leading axes [K, N, T] or [B, K, N, T].

    The first six fields are what `Learner.act` sees; the others are None until they are known.
    """

    obs: Array
    """Observation, `Spec.observation`."""
    prev_action: Array
    """The previous action in the policy's units; zero only at the start of a *stream*."""
    prev_reward: Array
    """The previous reward; zero only at the start of a *stream*."""
    first: Array
    """True in the first row of an *episode*."""
    episode: Array
    """How many episodes this stream has finished before this row."""
    action_mask: Array | None = None
    """Allowed actions, bool[n], where the spec says `masked`."""
    action: Later = None
    """The action in the policy's units (`Box`: before clipping and scaling)."""
    reward: Later = None
    terminated: Later = None
    truncated: Later = None
    success: Array | None = None
    """`Outcome.success`, where the family defines it."""
    shaped_reward: Array | None = None
    """`Outcome.shaped_reward`, where the family gives it."""
    next_obs: Later = None
    """The true next observation, never that of a reset."""
    valid: Later = None
    """False in rows after the stream's last episode: memory is frozen there and the row weighs nothing."""
    dist: Any = None
    """The distribution that the action was drawn from."""
    value: Later = None
    """The critic's value of this row; 0 for learners without a critic."""
    logp: Later = None
    """Log-probability of `action` under `dist`."""
    aux: Any = None
    """`Out.aux`, stored where the learner gives one."""

    @property
    def start(self) -> Array:
        """True in the first row of a *stream*, where nothing precedes."""
        return self.first & (self.episode == 0)

    @property
    def training_reward(self) -> Array:
        """What the outer loop maximises: the shaped reward where there is one."""
        return self.reward if self.shaped_reward is None else self.shaped_reward

    def for_outer_loop(self) -> Step:
        """The same rows, with `training_reward` for the reward."""
        return dataclasses.replace(self, reward=self.training_reward)


class Out(eqx.Module):
    """What a learner says at one row: a distribution over actions (never a sampled action) and a value."""

    dist: Any
    value: Array
    aux: Any = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the experience of one task is laid out; static, declared by the algorithm."""

    rounds: int
    """K: rounds of experience; the learner adapts between them, K-1 times."""
    streams: int
    """N: parallel streams in a round."""
    steps: int
    """T: rows of a stream in a round."""
    episodes: int | None = 1
    """Episodes of a stream in a round; rows after the last are invalid. None: a fixed budget of T steps."""
    carry: bool = False
    """True: the environment goes on across round borders."""
    adapt_last: bool = False
    """True: adapt once more after the last round (Reptile; deployment)."""


class Lifetime(eqx.Module):
    """Everything that B tasks gave in K rounds of N streams of T steps; data, no functions.

    `replay` runs the learner over it again, differentiably.
    """

    task: Task
    rounds: Step
    """[B, K, N, T, ...]"""
    keys: Array
    """[B], one PRNG key per task; every random draw of the lifetime derives from it."""
    features: Array | None = None
    """[B, F], `TaskFamily.features`, where the family has them."""


class FewShot(eqx.Module):
    """What B supervised tasks give: labelled examples to learn from, and others to be asked about; data, no functions.

    An example is a `Step`: `obs` the input, `action` the label, `prev_action` the label of the example before it.
    """

    task: Task
    support: Step
    """[B, S, ...]"""
    query: Step
    """[B, Q, ...]; `prev_action` is the last label of the support: a query never sees another."""
    keys: Array
    """[B], one PRNG key per task."""
    features: Array | None = None
    """[B, F], the family's `features`, where it has them."""


class Behaviour(eqx.Module):
    """What an algorithm wants collected."""

    theta: Theta
    per_task: bool = eqx.field(static=True, default=False)
    """True: theta has a leading axis [B] (evolution strategies)."""
    tasks: Task = None
    """Tasks [B] to collect on; None: draws from the training split."""
    fast: Fast = None
    """Fast state [B] to start from; None: `Learner.begin`."""
    draws: Array | None = None
    """Keys [B] to draw the tasks with: the same key is the same task, in a later meta-update too. None: fresh ones."""
    keys: Array | None = None
    """Keys [B] of the lifetimes: two that share one share their random numbers. None: fresh ones."""


class TrainState(eqx.Module):
    """Everything that a checkpoint holds: with it and the run's configuration, training goes on bit for bit."""

    theta: Theta
    opt_state: Any
    key: Array
    """The run's root key; never consumed, only folded with `updates`."""
    updates: Array
    """int32, meta-updates done."""
    aux: Any = None
    """Buffers, critics, task sets: what the algorithm keeps besides theta."""
