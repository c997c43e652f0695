"""A point in the plane and a hidden goal: MAML's 2D navigation, and PEARL's sparse half circle."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Box, Outcome, Spec, Task

Point = Float[Array, " 2"]
DenseReward = Literal["distance", "squared"]
HalfCircleReward = Literal["sparse", "shaped", "peaked", "dense"]
PEAK_WIDTH = 0.2


@dataclasses.dataclass(frozen=True)
class _Navigation(TaskFamily):
    """What both families share: a task is the goal, float32[2]; state and observation are the position.

    An episode begins in the origin. A step moves the point by the action, then pays and tests the new position, in the
    order of the published environments.
    """

    horizon: int
    max_step: float
    goal_radius: float
    episodes: int
    reward: str

    def _check(self, rewards: tuple[str, ...]) -> None:
        if self.reward not in rewards:
            names = " or ".join([", ".join(rewards[:-1]), rewards[-1]])
            raise AdaptaxError(f"The reward of this family is {names}, not '{self.reward}'.")
        for name, value in vars(self).items():
            if name != "reward" and not 0 < value < math.inf:
                raise AdaptaxError(f"{name} of a navigation family must be above 0 and finite, not {value}.")

    def _spec(self, name: str) -> Spec:
        return Spec(
            name=name,
            observation=(2,),
            action=Box((-self.max_step,) * 2, (self.max_step,) * 2),
            episode_steps=self.horizon,
            episodes=self.episodes,
            features=2,
        )

    def reset(self, key: Key[Array, ""], task: Task) -> tuple[Point, Point]:
        return jnp.zeros(2), jnp.zeros(2)

    def features(self, task: Task) -> Point:
        return task

    def _straight(self, goal: Point) -> Float[Array, "T 2"]:
        """What is left to the goal on each axis after 1..horizon moves straight at it: max(0, |g| − t·max_step).

        The axes are clipped apart, so that no policy is ever nearer on either of them.
        """
        moves = jnp.arange(1, self.horizon + 1)[:, None]
        return jnp.maximum(jnp.abs(goal) - self.max_step * moves, 0.0)


@dataclasses.dataclass(frozen=True)
class PointNavigation(_Navigation):
    """2D navigation (Finn et al. 2017, §5.3): from the origin to a hidden goal in a square, paid minus the distance.

    The dynamics are those of the paper's code and of pytorch-maml-rl's `2DNavigation-v0`: move, pay minus the new
    distance, terminate where the new position is nearer than `goal_radius` on both axes. As in the paper's code a policy's
    action of 1 is a move of `max_step`; in pytorch-maml-rl it is a move of 1, clipped, so that a new policy of unit
    variance is clipped nine times in ten. Success is arrival.

    `ood`: goals on the square frame around the training square, up to twice as far.
    """

    horizon: int = 100
    """Longest episode, in steps."""
    max_step: float = 0.1
    """Longest move along an axis in one step."""
    goal_radius: float = 0.01
    """An episode terminates nearer than this to the goal, on both axes."""
    episodes: int = 2
    """Episodes in a lifetime of learners that remember."""
    goal_range: float = 0.5
    """Goals are uniform in [-goal_range, goal_range]²."""
    reward: DenseReward = "distance"
    """Minus the Euclidean distance, as the published code has it, or minus its square, as the paper says."""

    def __post_init__(self):
        self._check(get_args(DenseReward))

    @property
    def spec(self) -> Spec:
        return self._spec("point-navigation")

    def sample(self, key: Key[Array, ""], split: Split) -> Point:
        r = self.goal_range
        if split != "ood":
            return jax.random.uniform(key, (2,), minval=-r, maxval=r)
        k_direction, k_distance = jax.random.split(key)
        direction = jax.random.uniform(k_direction, (2,), minval=-1.0, maxval=1.0)
        distance = 2 * r - jax.random.uniform(k_distance, maxval=r)  # maximum norm in (r, 2r]
        return distance * (direction / jnp.abs(direction).max())

    def step(self, key: Key[Array, ""], state: Point, action: Point, task: Task) -> tuple[Point, Outcome]:
        position = state + action
        left = position - task
        arrived = self._arrived(left)
        return position, Outcome(
            position, self._pay(left), terminated=arrived, truncated=jnp.array(False), success=arrived
        )

    def _arrived(self, left: Float[Array, "*T 2"]) -> Bool[Array, "*T"]:
        return jnp.all(jnp.abs(left) < self.goal_radius, axis=-1)

    def _pay(self, left: Float[Array, "*T 2"]) -> Float[Array, "*T"]:
        squared = jnp.sum(left**2, axis=-1)
        return -squared if self.reward == "squared" else -jnp.sqrt(squared)

    def optimal(self, task: Task) -> Float[Array, ""]:
        """The return of going straight at the goal on each axis, in closed form up to float32's rounding.

        It is the best: both rewards grow as either axis nears the goal, and no reward is positive, so that the earliest
        end is best too.
        """
        left = self._straight(task)
        arrived = self._arrived(left)
        arrived_before = jnp.cumsum(arrived) > arrived
        return jnp.sum(jnp.where(arrived_before, 0.0, self._pay(left)))


@dataclasses.dataclass(frozen=True)
class SparsePointNavigation(_Navigation):
    """Sparse navigation (Rakelly et al. 2019, PEARL): a hidden goal on the unit half circle, paid only near it.

    The dynamics are those of PEARL's code, which draws goals from 100 fixed angles, 80 for training and 20 for the
    test. Here angles are uniform in [0, π) in both splits, drawn with separate keys. No episode terminates. Success is a step
    within `goal_radius` of the goal.

    `ood`: the other half of the circle.
    """

    horizon: int = 20
    """Length of an episode, in steps."""
    max_step: float = 0.1
    """Longest move along an axis in one step."""
    goal_radius: float = 0.2
    """Euclidean distance from the goal within which the sparse reward is paid."""
    episodes: int = 6
    """Episodes in a lifetime of learners that remember: PEARL's five to explore, and one."""
    reward: HalfCircleReward = "sparse"
    """sparse: 1 − distance d within `goal_radius`, else 0. shaped: the same, and meta-training maximises −d in its place, as
    PEARL's does; learners see, and evaluations count, the sparse reward. peaked: as shaped, with 1 / (1 + (d / 0.2)²). Where
    nothing is known of the goal, −d is best in the middle of the half circle, from where no goal is ever met; a peaked reward is
    best on the circle itself. The peak has long tails, for goals where a policy has never been. dense: −d is the reward."""

    def __post_init__(self):
        self._check(get_args(HalfCircleReward))
        if self.goal_radius >= 1:
            raise AdaptaxError(
                f"goal_radius must be below 1, not {self.goal_radius}: an episode begins 1 away from the goal."
            )

    @property
    def spec(self) -> Spec:
        return self._spec("sparse-navigation")

    def sample(self, key: Key[Array, ""], split: Split) -> Point:
        angle = jax.random.uniform(key, maxval=math.pi) - (math.pi if split == "ood" else 0.0)
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def step(self, key: Key[Array, ""], state: Point, action: Point, task: Task) -> tuple[Point, Outcome]:
        position = state + action
        left = position - task
        never = jnp.array(False)
        return position, Outcome(
            position, self._pay(left), terminated=never, truncated=never, success=self._near(left),
            shaped_reward=self._shaped(jnp.linalg.norm(left)),
        )  # fmt: skip

    def _shaped(self, distance: Float[Array, ""]) -> Float[Array, ""] | None:
        return {"shaped": -distance, "peaked": 1.0 / (1.0 + (distance / PEAK_WIDTH) ** 2)}.get(self.reward)

    def _near(self, left: Float[Array, "*T 2"]) -> Bool[Array, "*T"]:
        return jnp.linalg.norm(left, axis=-1) <= self.goal_radius

    def _pay(self, left: Float[Array, "*T 2"]) -> Float[Array, "*T"]:
        distance = jnp.linalg.norm(left, axis=-1)
        return -distance if self.reward == "dense" else jnp.where(self._near(left), 1.0 - distance, 0.0)

    def optimal(self, task: Task) -> Float[Array, ""]:
        """The return of going straight at the goal on each axis: neither reward ever falls as an axis nears the goal."""
        return jnp.sum(self._pay(self._straight(task)))
