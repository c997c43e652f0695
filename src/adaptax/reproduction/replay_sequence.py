"""Meta-experience replay on a sequence of tasks that never come back: goals in a gridworld, one after the other.

The goal is shown, so that one network can hold all tasks; what it has learned of a goal it loses while it learns others. After each
task the greedy policy is tried on all of them. All methods have the same exploration, target networks and as many gradients, and
those that replay the same store; they differ in what is drawn from where, and in how a step is made of it. Each is tuned over as
many settings, on other sequences.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax.adaptation.experience_replay import Anchor, Loss, averaged
from adaptax.adaptation.q_replay import ReplayTheta
from adaptax.algorithms.mer import MER, MERAlgorithm, MERLearner
from adaptax.buffers import RingBuffer
from adaptax.collection.collect import collect
from adaptax.estimators.transitions import transitions
from adaptax.learner import Frozen
from adaptax.reports.outcome import Outcome, Plot
from adaptax.reproduction.continual import Found, leads, on_past_tasks, retained, tuned
from adaptax.tasks.base import TaskFamily
from adaptax.tasks.gridworld import GridWorld
from adaptax.training.program import lifetime_keys
from adaptax.training.train import Report
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, TrainState

TASKS = 12
"""Goals of a sequence."""
SEQUENCE = MER(
    tasks=1, rounds=10, streams=8, inner_updates=40, batches=2, minibatches=4, batch=16, outer_step=1.0,
    selection="uniform", recent=80, hidden=(64, 64), gamma=0.9, reward_scale=0.2, epsilon=0.5, last_epsilon=0.5,
)  # fmt: skip
"""A task lasts 80 episodes, 1,200 steps, all of which its own buffer holds."""
CAPACITIES = (1000, 250)
"""Transitions of the past that are kept."""
SEEDS, TUNING_SEEDS = 20, 4
TOGETHER = 4
"""Sequences that are learned side by side."""


@dataclasses.dataclass(frozen=True)
class Shown(TaskFamily):
    """A family whose observations end with what there is to know of the task."""

    family: TaskFamily

    @property
    def spec(self) -> Spec:
        spec = self.family.spec
        (n,) = spec.observation
        return dataclasses.replace(spec, name=f"{spec.name}, shown", observation=(n + spec.features,))

    def sample(self, key, split):
        return self.family.sample(key, split)

    def reset(self, key, task):
        state, obs = self.family.reset(key, task)
        return state, self.with_task(obs, task)

    def step(self, key, state, action, task):
        state, outcome = self.family.step(key, state, action, task)
        return state, dataclasses.replace(outcome, obs=self.with_task(outcome.obs, task))

    def with_task(self, obs: Array, task: Any) -> Array:
        features = self.family.features(task)
        assert features is not None
        return jnp.concatenate([obs, features])


GRID = GridWorld()
FAMILY = Shown(GRID)


# --- what MER is compared with -----------------------------------------------------------------


class Plain(MERLearner):
    """Uniform replay: steps on the mean of a batch."""

    def moved(self, theta: ReplayTheta, loss: Loss, q: Any, batches: Any) -> Any:
        return averaged(loss, q, batches, self.α)


class Online(Plain):
    """What is past does not come back."""

    def drawn(self, theta: ReplayTheta, buffer: RingBuffer, key: Key[Array, ""]) -> Any:
        shape = self.batches, self.minibatches, self.batch
        rows = buffer.sample(key, self.batches * self.minibatches * self.batch)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), rows)


class Held(Frozen):
    anchor: Anchor


class ElasticTheta(ReplayTheta):
    held: Held


class Elastic(Online):
    """Online, held by elastic weights; β is how strongly."""

    def init(self, key: Key[Array, ""]) -> ElasticTheta:
        theta = super().init(key)
        fields = {field.name: getattr(theta, field.name) for field in dataclasses.fields(theta)}
        return ElasticTheta(**fields, held=Held(Anchor.of(theta.q)))

    def moved(self, theta: ReplayTheta, loss: Loss, q: Any, batches: Any) -> Any:
        assert isinstance(theta, ElasticTheta)
        held = lambda q, rows: loss(q, rows) + self.β * theta.held.anchor.penalty(q)  # noqa: E731
        return averaged(held, q, batches, self.α)


class Sequential(MERAlgorithm):
    """MER on tasks that come one by one, with observations that need no scaling."""

    def __init__(self, kind: type[MERLearner], settings: Float[Array, " 2"], capacity: int):
        super().__init__(dataclasses.replace(SEQUENCE, capacity=capacity), FAMILY.spec)
        fields: dict[str, Any] = {
            f.name: getattr(self.learner, f.name) for f in dataclasses.fields(MERLearner)
        }
        fields["α"], fields["β"] = settings
        self.learner = kind(**fields)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        after, metrics = super().learn(state, lifetime, key)
        theta = dataclasses.replace(after.theta, normaliser=state.theta.normaliser)
        if isinstance(theta, ElasticTheta):
            rows = jax.tree.map(lambda x: x[0, -1].reshape(-1, *x.shape[4:]), transitions(lifetime.rounds))
            error = lambda q, row: self.learner.td.error(q, theta.q, row, theta.normaliser)  # noqa: E731
            theta = dataclasses.replace(theta, held=Held(theta.held.anchor.holding(error, theta.q, rows)))
        return dataclasses.replace(after, theta=theta), metrics


# --- the comparison ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    kind: type[MERLearner]
    steps: tuple[float, ...]
    """Values of α to be tried."""
    others: tuple[float, ...] = (1.0,)
    """With each of these, β."""

    @property
    def grid(self) -> list[tuple[float, float]]:
        return [(a, b) for a in self.steps for b in self.others]


FINE, COARSE = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (0.3, 1.0, 3.0)
FIRST, ONLINE, ELASTIC, UNIFORM = "MER", "online", "elastic weights (EWC)", "uniform replay"
REPLAY = (
    Method(FIRST, MERLearner, (0.5, 1.0, 2.0), (0.3, 0.5)),
    Method(UNIFORM, Plain, FINE),
)
WITHOUT = (
    Method(ELASTIC, Elastic, COARSE, (1.0, 10.0)),
    Method(ONLINE, Online, FINE),
)


def met(algorithm: MERAlgorithm, tasks: Array, key: Key[Array, ""]) -> Float[Array, "after on"]:
    """The greedy policy's return on each task, before everything and after each task, of one learner that meets them all."""
    k_init, k_tasks, k_tried = jax.random.split(key, 3)
    state = algorithm.init(k_init)

    def tried(state: TrainState) -> Array:
        behaviour, once = Behaviour(state.theta, tasks=tasks), Layout(1, 1, FAMILY.spec.episode_steps, 1)
        lifetimes, _, _ = collect(
            algorithm.learner, FAMILY, behaviour, once, lifetime_keys(k_tried, TASKS), modal=True
        )
        return lifetimes.rounds.reward.sum((1, 2, 3))

    def task(state: TrainState, inputs: Any) -> tuple[TrainState, Array]:
        task, key = inputs
        k_behave, k_collect, k_learn = jax.random.split(key, 3)
        behaviour = dataclasses.replace(algorithm.behave(state, k_behave), tasks=task[None])
        lifetime, _, _ = collect(
            algorithm.learner, FAMILY, behaviour, algorithm.layout, lifetime_keys(k_collect, 1)
        )
        state, _ = algorithm.learn(state, lifetime, k_learn)
        return state, tried(state)

    _, after = jax.lax.scan(task, state, (tasks, jax.random.split(k_tasks, TASKS)))
    return jnp.concatenate([tried(state)[None], after])


def of_seeds(
    kind: type[MERLearner], capacity: int, settings: Sequence[tuple[float, float]], first: int, number: int
) -> np.ndarray:
    """[settings, seeds, after, on]"""
    goals = [
        np.random.default_rng(seed).permutation(GRID.goals("train"))[:TASKS]
        for seed in range(first, first + number)
    ]
    keys = jax.vmap(jax.random.key)(jnp.arange(first, first + number))
    n = len(settings)
    every = (
        jnp.repeat(jnp.array(settings), number, axis=0),
        jnp.tile(jnp.asarray(np.stack(goals), jnp.int32), (n, 1)),
        jnp.tile(keys, n),
    )

    @jax.jit
    def scores(every: Any) -> Array:
        return jax.lax.map(
            lambda one: met(Sequential(kind, one[0], capacity), *one[1:]), every, batch_size=TOGETHER
        )

    found = np.asarray(scores(every), np.float64)
    return found.reshape(n, number, *found.shape[1:])


def sequence_retained(directory: Path, report: Report) -> Outcome:
    """Every method on the same sequences, those that replay with stores of several sizes."""

    def found(methods: Sequence[Method], capacity: int, folder: str) -> Found:
        plays = {m.name: (m.grid, partial(of_seeds, m.kind, capacity)) for m in methods}
        problem = [TASKS, capacity, json.loads(json.dumps(dataclasses.asdict(SEQUENCE)))]
        return tuned(plays, TUNING_SEEDS, SEEDS, directory / folder, problem)

    nothing = found(WITHOUT, 1, "nothing-kept")
    return sum(
        (
            told(capacity, {**found(REPLAY, capacity, f"{capacity}-kept"), **nothing})
            for capacity in CAPACITIES
        ),
        start=Outcome([], [], []),
    )


def told(capacity: int, found: Found) -> Outcome:
    """With a store of one size."""
    steps = SEQUENCE.rounds * SEQUENCE.streams * GRID.horizon
    table = retained(
        f"{TASKS} goals of the gridworld, one by one, {steps} steps each: greedy return; replay has kept {capacity} past ones",
        found,
        2,
        f"Means over {SEEDS} sequences and networks. Retained: on all tasks at last. Settings: α, and β or the strength of the "
        f"elastic weights; the best of {len(REPLAY[0].grid)} on {TUNING_SEEDS} other sequences. All take the same number of "
        "gradients. Lead: in what is retained, with its 95% interval over sequences.",
    )
    claims = leads(f"{capacity} kept: {FIRST} retains a return of", found, (ONLINE, UNIFORM, ELASTIC), 2)
    lines = [on_past_tasks(name, x) for name, (_, x) in found.items()]
    plot = Plot(f"Return on the goals that are over, {capacity} transitions kept", "goals", "return", lines)
    return Outcome([table], claims, [], [plot])
