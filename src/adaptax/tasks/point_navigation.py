"""A point in the plane and a hidden goal: the 2D navigation of MAML, and PEARL's sparse half circle."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Box, Outcome, Spec

Point = Float[Array, " 2"]


@dataclasses.dataclass(frozen=True)
class PointNavigation(TaskFamily):
    """From the origin to a hidden goal in a square; the reward is minus the distance (Finn et al. 2017, §5.3).

    A step moves the point by at most `max_step` along each axis; the reward is that of the new position. An episode
    terminates within `goal_radius` of the goal on both axes, and is truncated after `horizon` steps. Task: the goal, float32[2]. ood:
    goals outside the training square, up to twice as far.
    """

    goal_range: float = 0.5
    """Goals are uniform in [-goal_range, goal_range]²."""
    horizon: int = 100
    """Longest episode, in steps."""
    max_step: float = 0.1
    """Longest move along an axis in one step."""
    goal_radius: float = 0.01
    """An episode terminates nearer than this to the goal, on both axes."""
    reward: Literal["distance", "squared"] = "distance"
    """Minus the Euclidean distance, as published MAML code has it, or its square, as the paper says."""

    @property
    def spec(self) -> Spec:
        return Spec(
            name="point-navigation",
            observation=(2,),
            action=Box((-self.max_step,) * 2, (self.max_step,) * 2),
            episode_steps=self.horizon,
            episodes=2,
            features=2,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Point:
        k_goal, k_axis = jax.random.split(key)
        r = self.goal_range
        if split != "ood":
            return jax.random.uniform(k_goal, (2,), minval=-r, maxval=r)
        # At least one axis beyond the training square, the other anywhere within twice its size.
        goal = jax.random.uniform(k_goal, (2,), minval=-2 * r, maxval=2 * r)
        axis = jax.random.bernoulli(k_axis).astype(jnp.int32)
        beyond = jnp.sign(goal[axis]) * (r + jnp.abs(goal[axis]) / 2)
        return goal.at[axis].set(beyond)

    def reset(self, key: Key[Array, ""], task: Point) -> tuple[Point, Point]:
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, key: Key[Array, ""], state: Point, action: Point, task: Point) -> tuple[Point, Outcome]:
        position = state + action
        arrived = jnp.all(jnp.abs(position - task) < self.goal_radius)
        return position, Outcome(
            position, self._reward(position - task), terminated=arrived, truncated=jnp.array(False), success=arrived
        )

    def _reward(self, offset: Point) -> Float[Array, ""]:
        squared = jnp.sum(offset**2)
        return -squared if self.reward == "squared" else -jnp.sqrt(squared)

    def features(self, task: Point) -> Point:
        return task

    def optimal(self, task: Point) -> Float[Array, ""]:
        """Straight at the goal on each axis: after t moves an axis is max(0, |g| − t·max_step) away.

        Both reward choices fall with the distance on either axis, and every reward is negative, so that the soonest end is best:
        the return is the sum over the moves until the episode terminates.
        """
        moves = jnp.arange(1, self.horizon + 1)
        away = jnp.maximum(jnp.abs(task)[None] - self.max_step * moves[:, None], 0.0)
        rewards = jax.vmap(self._reward)(away)
        arrived = jnp.all(away < self.goal_radius, axis=1)
        before = jnp.cumsum(arrived) - arrived == 0
        return jnp.sum(jnp.where(before, rewards, 0.0))


@dataclasses.dataclass(frozen=True)
class SparsePointNavigation(TaskFamily):
    """From the origin to a hidden goal on a half circle; rewarded only near it (Rakelly et al. 2019, §6.3).

    Reward: 1 − distance within `goal_radius` of the goal, else 0. Goals lie on the unit half circle of angles 0..π; the training and
    the test split share that prior. ood: the other half. Task: the goal, float32[2].
    """

    horizon: int = 20
    """Length of an episode, in steps."""
    max_step: float = 0.1
    """Longest move along an axis in one step."""
    goal_radius: float = 0.2
    """Where the reward begins."""
    dense: bool = False
    """Minus the distance everywhere instead, as PEARL's meta-training uses."""

    @property
    def spec(self) -> Spec:
        return Spec(
            name="sparse-navigation",
            observation=(2,),
            action=Box((-self.max_step,) * 2, (self.max_step,) * 2),
            episode_steps=self.horizon,
            episodes=6,
            features=2,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Point:
        angle = jax.random.uniform(key, maxval=math.pi) * (-1.0 if split == "ood" else 1.0)
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def reset(self, key: Key[Array, ""], task: Point) -> tuple[Point, Point]:
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, key: Key[Array, ""], state: Point, action: Point, task: Point) -> tuple[Point, Outcome]:
        position = state + action
        distance = jnp.linalg.norm(position - task)
        near: Bool[Array, ""] = distance <= self.goal_radius
        reward = -distance if self.dense else jnp.where(near, 1.0 - distance, 0.0)
        never = jnp.array(False)
        return position, Outcome(position, reward, terminated=never, truncated=never, success=near)

    def features(self, task: Point) -> Point:
        return task
