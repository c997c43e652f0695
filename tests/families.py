"""Tiny task families for the tests."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from adaptax.tasks.base import Examples, SupervisedFamily, TaskFamily
from adaptax.types import Box, Discrete, Outcome, Spec

INFINITE = float("inf")


@dataclasses.dataclass(frozen=True)
class Corridor(TaskFamily):
    """Three cells in a row; the walk begins in the middle and ends at the goal, one of the two outer cells.

    Everything is deterministic. An episode takes 1, 3 or 4 steps: it terminates at the goal, perhaps in the very step in
    which the time is up, or is truncated in the wrong cell, which is not where the next one begins.
    """

    @property
    def spec(self):
        return Spec(
            "corridor",
            (3,),
            Discrete(2),
            episode_steps=4,
            episodes=2,
            features=1,
            shared_tasks=True,
            ood=False,
        )

    def sample(self, key, split):
        return 2 * jax.random.bernoulli(key).astype(jnp.int32) - 1

    def reset(self, key, task):
        return jnp.int32(0), self.observe(jnp.int32(0))

    def step(self, key, state, action, task):
        cell = jnp.clip(state + 2 * action - 1, -1, 1)
        there = cell == task
        reward = jnp.where(there, 1.0, -0.1 * (state + 2))
        return cell, Outcome(self.observe(cell), reward, there, jnp.array(False), there)

    def observe(self, cell):
        return jax.nn.one_hot(cell + 1, 3)

    def features(self, task):
        return task[None].astype(jnp.float32)

    def optimal(self, task):
        return jnp.ones(())


class GatedCorridor(Corridor):
    """A corridor with a third action, to wait, which only the middle cell allows."""

    @property
    def spec(self):
        return dataclasses.replace(super().spec, action=Discrete(3), masked=True)

    def step(self, key, state, action, task):
        walked, outcome = super().step(key, state, action, task)
        waited = Outcome(
            self.observe(state), jnp.array(-0.05), jnp.array(False), jnp.array(False), jnp.array(False)
        )
        return jax.tree.map(lambda w, o: jnp.where(action == 2, w, o), (state, waited), (walked, outcome))

    def action_mask(self, state, task):
        return jnp.array([True, True, False]).at[2].set(state == 0)


@dataclasses.dataclass(frozen=True)
class Push(TaskFamily):
    """A point on a line is pushed to a hidden goal by a bounded and an unbounded action; start and motion are noisy.

    An episode terminates where the point leaves [-1.2, 1.2], and is truncated after four steps.
    """

    @property
    def spec(self):
        action = Box((-2.0, -INFINITE), (1.0, INFINITE))
        return Spec("push", (2,), action, episode_steps=4, episodes=2, features=1, ood=False)

    def sample(self, key, split):
        return jax.random.normal(key)

    def reset(self, key, task):
        x = 0.5 * jax.random.normal(key)
        return x, self.observe(x)

    def step(self, key, state, action, task):
        x = state + 0.4 * action[0] + 0.3 * jnp.tanh(action[1]) + 0.2 * jax.random.normal(key)
        return x, Outcome(self.observe(x), -jnp.abs(x - task), jnp.abs(x) > 1.2, jnp.array(False))

    def observe(self, x):
        return jnp.stack([x, jnp.square(x)])

    def features(self, task):
        return task[None]


@dataclasses.dataclass(frozen=True)
class Fork(TaskFamily):
    """Two choices, one after the other, each of two; deterministic, and so can be enumerated.

    A task is the rewards [cell, action]; cell 0 is the first choice, 1 and 2 are where it leads. The first of the two
    tasks pays most for turning left, then right; the second punishes just that.
    """

    @property
    def spec(self):
        return Spec("fork", (3,), Discrete(2), episode_steps=2, episodes=2, shared_tasks=True, ood=False)

    def tasks(self):
        """float32[2, 3, 2]"""
        return jnp.array([[[0.5, -0.3], [-1.0, 2.0], [0.7, 0.1]], [[-0.4, 0.2], [0.3, -2.0], [-0.5, 1.5]]])

    def sample(self, key, split):
        return jax.random.choice(key, self.tasks())

    def reset(self, key, task):
        return jnp.int32(0), jax.nn.one_hot(0, 3)

    def step(self, key, state, action, task):
        cell = jnp.where(state == 0, action + 1, 0)
        obs = jax.nn.one_hot(cell, 3)
        return cell, Outcome(obs, task[state, action], terminated=state > 0, truncated=jnp.array(False))


@dataclasses.dataclass(frozen=True)
class TwoArms(TaskFamily):
    """Two arms, of which one pays 1 and the other 0, always; a pull is an episode."""

    pulls: int = 4

    @property
    def spec(self):
        return Spec(
            "two-arms", (1,), Discrete(2), episode_steps=1, episodes=self.pulls, shared_tasks=True, ood=False
        )

    def sample(self, key, split):
        return jax.random.bernoulli(key).astype(jnp.int32)

    def reset(self, key, task):
        return None, jnp.zeros(1)

    def step(self, key, state, action, task):
        reward = (action == task).astype(jnp.float32)
        return None, Outcome(jnp.zeros(1), reward, jnp.array(True), jnp.array(False))

    def optimal(self, task):
        return jnp.ones(())


class Dice(eqx.Module):
    """Where an episode of `Draws` stands."""

    elapsed: jax.Array


@dataclasses.dataclass(frozen=True)
class Draws(TaskFamily):
    """Its observations are the random numbers drawn in `reset` (first entry) and `step` (second)."""

    @property
    def spec(self):
        return Spec("draws", (2,), Box((-INFINITE,), (INFINITE,)), episode_steps=3, episodes=2, ood=False)

    def sample(self, key, split):
        return jax.random.normal(key)

    def reset(self, key, task):
        return Dice(jnp.int32(0)), jnp.stack([jax.random.normal(key), 0.0])

    def step(self, key, state, action, task):
        obs = jnp.stack([0.0, jax.random.normal(key)])
        ended = state.elapsed == 1
        return Dice(state.elapsed + 1), Outcome(obs, jnp.zeros(()), ended, jnp.array(False))


@dataclasses.dataclass(frozen=True)
class Pictures(SupervisedFamily):
    """Two pictures of 4 × 4 pixels to be told apart, each of which is shown with noise; a task is the pictures."""

    @property
    def spec(self):
        return Spec("pictures", (4, 4, 1), Discrete(2), episode_steps=4, support=4, ood=False)

    def sample(self, key, split):
        return jax.random.normal(key, (2, 4, 4, 1))

    def examples(self, key, task, split):
        x = task[None] + 0.3 * jax.random.normal(key, (5, 2, 4, 4, 1))
        x, y = x.reshape(10, 4, 4, 1), jnp.tile(jnp.arange(2), 5)
        return Examples(x[:4], y[:4], x[4:], y[4:])


@dataclasses.dataclass(frozen=True)
class Steer(TaskFamily):
    """A point on a line is paid minus its distance from 1; in half of the tasks actions work the other way round.

    It gets there in two steps, for −0.5 in all.
    """

    BEST: ClassVar = -0.5

    @property
    def spec(self):
        return Spec("steer", (1,), Box((-1.0,), (1.0,)), episode_steps=10, episodes=2, ood=False)

    def sample(self, key, split):
        return 2.0 * jax.random.bernoulli(key) - 1.0

    def reset(self, key, task):
        return jnp.zeros(()), jnp.zeros(1)

    def step(self, key, state, action, task):
        x = jnp.clip(state + 0.5 * task * action[0], -2.0, 2.0)
        return x, Outcome(x[None], -jnp.abs(x - 1.0), jnp.array(False), jnp.array(False))
