"""Motion planning: a point robot that sees a little around it finds its way to a goal, on a map that it does not know."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Box, Outcome, Spec

ObstacleReward = Literal["distance", "sparse"]
SAMPLES = 16
"""Points of a ray that are looked at."""
MARGIN = 1e-4
"""What keeps a robot inside of the world, whose border belongs to the walls."""


class Map(eqx.Module):
    """A task."""

    walls: Bool[Array, "G G"]
    """By cell [column, row] of the unit square, counted from the corner where an episode begins."""
    goal: Float[Array, " 2"]


class State(eqx.Module):
    position: Float[Array, " 2"]
    bumped: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class ObstacleNavigation(TaskFamily):
    """From a corner of the unit square to a goal in the opposite quarter, between walls that differ from task to task.

    The square has `cells`² cells. Two staircases, from the corner to some cell and from there to the goal, are free, so that
    every map has a way; every other cell is a wall with probability `density`. A move that would end in a wall slides along
    it, or stays. The robot observes its position, what is left to the goal on each axis, whether it bumped, and how far it
    is to the next wall in `rays` directions, in parts of `sight`. Success is arrival, which terminates the episode.

    `ood`: goals in the two quarters where no training goal lies.
    """

    horizon: int = 80
    """Longest episode, in steps."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""
    cells: int = 8
    """Of a side of the square, 4 or more."""
    density: float = 0.45
    """Of walls, beside the free ways."""
    max_step: float = 0.05
    """Longest move along an axis in one step."""
    goal_radius: float = 0.06
    """Nearer than this is arrival."""
    rays: int = 8
    """Directions that are looked in, evenly around the robot; 0: it finds walls by bumping into them."""
    sight: float = 0.2
    """How far it sees."""
    bump_cost: float = 0.1
    """Of a move into a wall."""
    reward: ObstacleReward = "distance"
    """Minus the straight distance to the goal, whatever stands between; or 1 for arrival, and 0 else."""

    def __post_init__(self):
        if self.reward not in get_args(ObstacleReward):
            raise AdaptaxError(
                f"The reward of obstacle-navigation is distance or sparse, not '{self.reward}'."
            )
        if self.cells < 4 or self.rays < 0 or self.horizon < 1 or self.episodes < 1:
            raise AdaptaxError(
                "obstacle-navigation needs cells of at least 4, rays of at least 0, and a horizon and episodes of at least 1, not "
                f"{self.cells}, {self.rays}, {self.horizon} and {self.episodes}."
            )
        if not 0.0 <= self.density <= 1.0:
            raise AdaptaxError(f"density is a probability, and {self.density} is none.")
        for name in ("max_step", "goal_radius", "sight"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise AdaptaxError(f"{name} must be above 0 and finite, not {getattr(self, name)}.")
        if self.max_step > 1.0 / self.cells:
            raise AdaptaxError(
                f"A robot that moves {self.max_step} in a step would jump over walls, which are {1.0 / self.cells} wide; lower "
                "max_step or cells."
            )

    @property
    def spec(self) -> Spec:
        bound = (self.max_step,) * 2
        return Spec(
            name="obstacle-navigation", observation=(5 + self.rays,), action=Box(tuple(-x for x in bound), bound),
            episode_steps=self.horizon, episodes=self.episodes, features=self.cells**2 + 2,
        )  # fmt: skip

    def sample(self, key: Key[Array, ""], split: Split) -> Map:
        k_goal, k_side, k_between, k_first, k_second, k_walls = jax.random.split(key, 6)
        half = self.cells // 2
        goal = jax.random.randint(k_goal, (2,), half, self.cells)
        if split == "ood":  # one coordinate, either of them, in the half where training has none
            side = jax.random.randint(k_side, (), 0, 2)
            goal = goal.at[side].add(-half)
        between = jax.random.randint(k_between, (2,), 0, self.cells)
        start = jnp.zeros(2, jnp.int32)
        free = self.staircase(k_first, start, between) | self.staircase(k_second, between, goal)
        walls = jax.random.bernoulli(k_walls, self.density, (self.cells, self.cells)) & ~free
        return Map(walls, (goal + 0.5) / self.cells)

    def staircase(
        self, key: Key[Array, ""], start: Int[Array, " 2"], end: Int[Array, " 2"]
    ) -> Bool[Array, "G G"]:
        """The cells of a random way that comes nearer to its end with every step."""

        def step(cell, key):
            left = end - cell
            k_axis, _ = jax.random.split(key)
            axis = jnp.where(
                left[0] == 0, 1, jnp.where(left[1] == 0, 0, jax.random.bernoulli(k_axis).astype(int))
            )
            cell = cell.at[axis].add(jnp.sign(left)[axis])
            return cell, cell

        _, way = jax.lax.scan(step, start, jax.random.split(key, 2 * self.cells))
        cells = jnp.zeros((self.cells, self.cells), bool).at[start[0], start[1]].set(True)
        return cells.at[way[:, 0], way[:, 1]].set(True)

    def reset(self, key: Key[Array, ""], task: Map) -> tuple[State, Float[Array, " n"]]:
        state = State(jnp.full(2, 0.5 / self.cells), jnp.array(False))
        return state, self.observe(state, task)

    def step(
        self, key: Key[Array, ""], state: State, action: Float[Array, " 2"], task: Map
    ) -> tuple[State, Outcome]:
        wanted = jnp.clip(state.position + action, MARGIN, 1.0 - MARGIN)
        along = [state.position.at[axis].set(wanted[axis]) for axis in (0, 1)]
        free = [~self.blocked(task, x) for x in (wanted, *along)]
        # Straight on, or along the wall, or not at all.
        position = jnp.where(
            free[0], wanted, jnp.where(free[1], along[0], jnp.where(free[2], along[1], state.position))
        )
        bumped = ~free[0] | (wanted != state.position + action).any()
        state = State(position, bumped)
        distance = jnp.linalg.norm(position - task.goal)
        arrived = distance < self.goal_radius
        paid = arrived.astype(jnp.float32) if self.reward == "sparse" else -distance
        reward = paid - self.bump_cost * bumped
        return state, Outcome(
            self.observe(state, task), reward, terminated=arrived, truncated=jnp.array(False), success=arrived
        )

    def blocked(self, task: Map, place: Float[Array, " 2"]) -> Bool[Array, ""]:
        """A wall is there, or the world ends."""
        cell = jnp.floor(place * self.cells).astype(int)
        outside = ((place <= 0.0) | (place >= 1.0)).any()
        column, row = jnp.clip(cell, 0, self.cells - 1)
        return task.walls[column, row] | outside

    def observe(self, state: State, task: Map) -> Float[Array, " n"]:
        seen = [state.position, task.goal - state.position, state.bumped[None].astype(jnp.float32)]
        if self.rays:
            angles = jnp.arange(self.rays) * (2.0 * math.pi / self.rays)
            directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)
            seen.append(jax.vmap(lambda d: self.free_way(task, state.position, d))(directions))
        return jnp.concatenate(seen)

    def free_way(
        self, task: Map, place: Float[Array, " 2"], direction: Float[Array, " 2"]
    ) -> Float[Array, ""]:
        """How far it is to the next wall, in parts of `sight`: 1 where there is none so near."""
        parts = jnp.arange(1, SAMPLES + 1) / SAMPLES
        hit = jax.vmap(lambda part: self.blocked(task, place + part * self.sight * direction))(parts)
        return jnp.where(hit.any(), parts[hit.argmax()] - 1.0 / SAMPLES, 1.0)

    def features(self, task: Map) -> Float[Array, " F"]:
        return jnp.concatenate([task.walls.ravel().astype(jnp.float32), task.goal])
