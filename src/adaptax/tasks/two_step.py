"""The two-step task of neuroscience, and the analysis that tells model-based from model-free choices by it."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec


class TwoStepTask(eqx.Module):
    """Numbers of second-stage states, 0 or 1."""

    better: Int[Array, ""]
    """The one that pays more often in the first trial."""
    common: Int[Array, ""]
    """The one to which the first action commonly leads; the second action commonly leads to the other."""


class TwoStepState(eqx.Module):
    """Where a lifetime stands."""

    place: Int[Array, ""]
    """0: the first stage. 1, 2: the second-stage states 0 and 1."""
    better: Int[Array, ""]
    """The second-stage state that pays more often now."""
    elapsed: Int[Array, ""]
    """Steps taken, two a trial."""


@dataclasses.dataclass(frozen=True)
class TwoStep(TaskFamily):
    """The two-step task (Daw et al. 2011) as Wang et al. 2016, §3.2.1, have it.

    A trial has two steps. In the first stage an action is chosen; it leads to one of two second-stage states, the first
    action to the first state with probability `common`, else to the other, the second action the other way round. In
    the second stage any action pays 1, with probability `reward` in the better state and 1 − `reward` in the other,
    else 0; the next trial begins. The three places are observed one-hot.

    A task is which state is the better one: there are two tasks, in training and in the test. After each trial they
    change places with probability `reversal`: 0 in Wang et al. 2016; 0.025, with `common` 0.8, in Wang et al. 2018. As this
    must survive trials, a lifetime is ONE episode of `trials` trials, whose end is `terminated`.

    What the task is for: who learns values of actions by reward alone repeats what was rewarded. Who knows the transitions
    repeats it only after a common one, for after a rare one the other action leads there. `stay_probabilities` tells
    them apart.

    `ood`: each action commonly leads where the other did in training.
    """

    common: float = 0.75
    """Probability of the common transition."""
    reward: float = 0.9
    """Probability that the better state pays."""
    reversal: float = 0.0
    """Probability, after each trial, that the better state becomes the worse one."""
    trials: int = 100
    """Trials in a lifetime."""

    def __post_init__(self):
        if not (0.5 < self.common <= 1 and 0.5 < self.reward <= 1):
            raise AdaptaxError(
                f"common and reward of a two-step task must be above 0.5 and at most 1, but it is {self}."
            )
        if not 0 <= self.reversal <= 1 or self.trials < 1:
            raise AdaptaxError(
                f"A two-step task needs a reversal from 0 to 1, and at least one trial, but it is {self}."
            )

    @property
    def spec(self) -> Spec:
        return Spec(
            name="two-step",
            observation=(3,),
            action=Discrete(2),
            episode_steps=2 * self.trials,
            features=2,
            shared_tasks=True,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> TwoStepTask:
        return TwoStepTask(jax.random.randint(key, (), 0, 2), jnp.int32(split == "ood"))

    def reset(self, key: Key[Array, ""], task: TwoStepTask) -> tuple[TwoStepState, Float[Array, " 3"]]:
        start = TwoStepState(jnp.int32(0), task.better, jnp.int32(0))
        return start, jax.nn.one_hot(start.place, 3)

    def step(
        self, key: Key[Array, ""], state: TwoStepState, action: Int[Array, ""], task: TwoStepTask
    ) -> tuple[TwoStepState, Outcome]:
        k_move, k_pay, k_reverse = jax.random.split(key, 3)
        choosing = state.place == 0
        usual = action ^ task.common
        reached = jnp.where(jax.random.bernoulli(k_move, self.common), usual, 1 - usual)
        chance = jnp.where(state.place == 1 + state.better, self.reward, 1 - self.reward)
        pays = ~choosing & jax.random.bernoulli(k_pay, chance)
        reverses = ~choosing & jax.random.bernoulli(k_reverse, self.reversal)
        after = TwoStepState(
            jnp.where(choosing, 1 + reached, 0), state.better ^ reverses.astype(jnp.int32), state.elapsed + 1
        )
        return after, Outcome(
            jax.nn.one_hot(after.place, 3),
            pays.astype(jnp.float32),
            terminated=after.elapsed >= 2 * self.trials,
            truncated=jnp.array(False),
        )

    def features(self, task: TwoStepTask) -> Float[Array, " 2"]:
        """The better state at first, and where the first action commonly leads."""
        return jnp.stack([task.better, task.common]).astype(jnp.float32)

    def optimal(self, task: TwoStepTask) -> Float[Array, ""]:
        """Of a policy that is told before every trial which state is the better one: with `reversal` above 0 it knows more
        than the task."""
        c, r = self.common, self.reward
        return jnp.float32(self.trials * (c * r + (1 - c) * (1 - r)))


def trials(
    obs: Shaped[np.ndarray, "*lives steps 3"],
    action: Shaped[np.ndarray, "*lives steps"],
    reward: Shaped[np.ndarray, "*lives steps"],
) -> tuple[Shaped[np.ndarray, "*lives trials"], ...]:
    """What was done in each trial of some lifetimes: (choice, second-stage state reached, whether it paid)."""
    reached = obs[..., 1::2, :].argmax(axis=-1) - 1
    return action[..., 0::2], reached, reward[..., 1::2] > 0


def stay_probabilities(
    choice: Int[np.ndarray, "*lives trials"],
    common: Bool[np.ndarray, "*lives trials"],
    paid: Bool[np.ndarray, "*lives trials"],
) -> Float[np.ndarray, "2 2"]:
    """How often the next trial's choice is that of the trial before (Daw et al. 2011).

    Rows: after a reward, after none. Columns: after a common transition, after a rare one. NaN where that never
    happened. `common` is choice == reached in tasks whose first action commonly leads to the first state. Reward alone
    (model-free) raises the first row; knowledge of the transitions (model-based) raises the diagonal.
    """
    stayed, common, paid = choice[..., 1:] == choice[..., :-1], common[..., :-1], paid[..., :-1]
    cases = [[after & kind for kind in (common, ~common)] for after in (paid, ~paid)]
    return np.array([[stayed[case].mean() if case.any() else np.nan for case in row] for row in cases])
