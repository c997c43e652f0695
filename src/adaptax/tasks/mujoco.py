"""Robots with a hidden goal or a hidden body: MuJoCo's of Gymnasium v5, with the rewards and horizons of the papers.

| family | task | reward of a step, as in |
|---|---|---|
| half-cheetah-dir | forwards or backwards | ±v_x − 0.05 ‖a‖² (Finn et al. 2017, their code) |
| half-cheetah-vel | a speed v, U[0, 2] | −|v_x − v| − 0.05 ‖a‖² (Finn et al. 2017); Rothfuss and Rakelly draw from U[0, 3] |
| ant-dir | forwards or backwards; or any direction | v·d − 0.005 ‖a‖² − contacts + 0.05 (Finn et al. 2017) |
| ant-goal | a place, U[−3, 3]² | −‖p − g‖₁ − 0.005 ‖a‖² − contacts + 4.05 (Finn et al. 2017) |
| walker-params, hopper-params | masses, inertias, dampings, frictions | Gymnasium's (Rothfuss et al. 2019) |
| humanoid-dir | any direction | 1.25 v·d + 5 − 0.1 ‖a‖² − contacts (Rakelly et al. 2019) |
| swimmer-vel | a speed v, U[0.1, 0.2] | −|v_x − v| − 10⁻⁴ ‖a‖² (Rothfuss et al. 2019, whose code pays for being *far* from v) |

The bodies are those of Gymnasium v5, not of the papers' MuJoCo 1.31 to 1.50, and observations leave out the place along the ground
(but for ant-goal) and contact forces: returns are near the papers', not the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split
from adaptax.tasks.simulated import SimulatedFamily
from adaptax.types import Box, Spec

OUT = 0.5
"""How far beyond the training range `ood` draws, in parts of its width."""
BODY_SIZES = {"Walker2d-v5": 65, "Hopper-v5": 41}
"""`mujoco_envs.body_size`, known without MuJoCo."""


@dataclasses.dataclass(frozen=True)
class Robot(SimulatedFamily):
    """What the families share: the episode, and the environment that a task is made into."""

    horizon: int = 200
    """Steps of an episode."""
    episodes: int = 2
    """Of a lifetime of learners that remember."""

    extra: ClassVar[str] = "mujoco"
    packages: ClassVar[tuple[str, ...]] = ("mujoco",)
    name: ClassVar[str]
    robot: ClassVar[str]
    goal: ClassVar[str]
    observed: ClassVar[int]
    """Numbers of an observation."""
    actuators: ClassVar[int]
    strongest: ClassVar[float] = 1.0
    """Bound of each action."""
    forward_weight: ClassVar[float] = 1.0

    @property
    def settings(self) -> Mapping[str, Any]:
        """Keywords of Gymnasium's environment."""
        return {}

    @property
    def number_of_features(self) -> int:
        return 1

    @property
    def spec(self) -> Spec:
        if self.horizon < 1 or self.episodes < 1:
            raise AdaptaxError(
                f"{self.name} needs a horizon and episodes of at least 1, not {self.horizon} and {self.episodes}."
            )
        bounds = (-self.strongest,) * self.actuators, (self.strongest,) * self.actuators
        return Spec(
            self.name, (self.observed,), Box(*bounds), self.horizon, self.episodes, self.number_of_features,
            shared_tasks=self.shared_tasks, ood=self.out_of_range,
        )  # fmt: skip

    @property
    def shared_tasks(self) -> bool:
        """Training and test have the same tasks."""
        return False

    @property
    def out_of_range(self) -> bool:
        """There are tasks outside the training range."""
        return True

    @property
    def environments(self) -> Any:
        from adaptax.tasks.mujoco_envs import Robots

        return Robots(self.robot, self.goal, self.settings, self.forward_weight)  # type: ignore[arg-type]

    def features(self, task: np.ndarray) -> np.ndarray:
        return np.asarray(task, np.float32)


# --- which way ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Directions(Robot):
    """A task is a direction: a unit vector. Forwards and backwards are the tasks of training and of the test alike."""

    goal: ClassVar[str] = "direction"

    @property
    def two(self) -> bool:
        """Forwards or backwards; else any direction in the plane."""
        return True

    @property
    def number_of_features(self) -> int:
        return 2

    @property
    def shared_tasks(self) -> bool:
        return self.two

    @property
    def out_of_range(self) -> bool:
        return False

    def sample(self, rng: np.random.Generator, split: Split) -> np.ndarray:
        if self.two:
            return np.array([rng.choice([-1.0, 1.0]), 0.0])
        angle = rng.uniform(0.0, 2.0 * np.pi)
        return np.array([np.cos(angle), np.sin(angle)])


@dataclasses.dataclass(frozen=True)
class HalfCheetahDir(Directions):
    """A cheetah of two legs in the vertical plane runs forwards or backwards."""

    control_cost: float = 0.05
    """On the sum of squared actions."""

    name: ClassVar[str] = "half-cheetah-dir"
    robot: ClassVar[str] = "HalfCheetah-v5"
    observed: ClassVar[int] = 17
    actuators: ClassVar[int] = 6

    @property
    def settings(self):
        return {"ctrl_cost_weight": self.control_cost}


@dataclasses.dataclass(frozen=True)
class AntDir(Directions):
    """An ant runs in a direction."""

    directions: Literal["two", "circle"] = "two"
    """Forwards and backwards; or any direction in the plane."""
    control_cost: float = 0.005
    """On the sum of squared actions."""
    healthy_reward: float = 0.05
    """Of a step with the torso between 0.2 and 1 m; the episode ends elsewhere."""

    name: ClassVar[str] = "ant-dir"
    robot: ClassVar[str] = "Ant-v5"
    observed: ClassVar[int] = 27
    actuators: ClassVar[int] = 8

    @property
    def settings(self):
        return {
            "ctrl_cost_weight": self.control_cost,
            "healthy_reward": self.healthy_reward,
            "include_cfrc_ext_in_observation": False,
        }

    @property
    def two(self) -> bool:
        return self.directions == "two"


@dataclasses.dataclass(frozen=True)
class HumanoidDir(Directions):
    """A humanoid walks in a direction."""

    directions: Literal["two", "circle"] = "circle"
    """Forwards and backwards; or any direction in the plane."""

    name: ClassVar[str] = "humanoid-dir"
    robot: ClassVar[str] = "Humanoid-v5"
    observed: ClassVar[int] = 45
    actuators: ClassVar[int] = 17
    strongest: ClassVar[float] = float(np.float32(0.4))
    forward_weight: ClassVar[float] = 1.25

    @property
    def settings(self):
        left_out = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        return {f"include_{name}_in_observation": False for name in left_out}

    @property
    def two(self) -> bool:
        return self.directions == "two"


# --- how fast -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Speeds(Robot):
    """A task is a speed in m/s."""

    slowest: float = 0.0
    """m/s."""
    fastest: float = 2.0
    """m/s; `ood` is faster, by up to half the width of the range."""
    control_cost: float = 0.05
    """On the sum of squared actions."""

    goal: ClassVar[str] = "velocity"

    @property
    def spec(self) -> Spec:
        if not self.slowest < self.fastest:
            raise AdaptaxError(
                f"{self.name} needs slowest below fastest, not {self.slowest} and {self.fastest}."
            )
        return super().spec

    @property
    def settings(self):
        return {"ctrl_cost_weight": self.control_cost}

    def sample(self, rng: np.random.Generator, split: Split) -> np.ndarray:
        width = self.fastest - self.slowest
        if split == "ood":
            return np.array([self.fastest + OUT * width * (1.0 - rng.random())])
        return np.array([rng.uniform(self.slowest, self.fastest)])


@dataclasses.dataclass(frozen=True)
class HalfCheetahVel(Speeds):
    """A cheetah of two legs runs at a given speed."""

    name: ClassVar[str] = "half-cheetah-vel"
    robot: ClassVar[str] = "HalfCheetah-v5"
    observed: ClassVar[int] = 17
    actuators: ClassVar[int] = 6


@dataclasses.dataclass(frozen=True)
class SwimmerVel(Speeds):
    """A swimmer of three links swims at a given speed."""

    slowest: float = 0.1
    """m/s."""
    fastest: float = 0.2
    """m/s; `ood` is faster, by up to half the width of the range."""
    control_cost: float = 1e-4
    """On the sum of squared actions."""

    name: ClassVar[str] = "swimmer-vel"
    robot: ClassVar[str] = "Swimmer-v5"
    observed: ClassVar[int] = 8
    actuators: ClassVar[int] = 2


# --- where to -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class AntGoal(Robot):
    """An ant walks to a hidden place."""

    size: float = 3.0
    """m; goals lie in a square from −size to size; `ood` lie around it."""
    control_cost: float = 0.005
    """On the sum of squared actions."""
    healthy_reward: float = 4.05
    """Of a step with the torso between 0.2 and 1 m; the episode ends elsewhere."""

    name: ClassVar[str] = "ant-goal"
    robot: ClassVar[str] = "Ant-v5"
    goal: ClassVar[str] = "position"
    observed: ClassVar[int] = 29
    actuators: ClassVar[int] = 8

    @property
    def settings(self):
        return {
            "ctrl_cost_weight": self.control_cost,
            "healthy_reward": self.healthy_reward,
            "include_cfrc_ext_in_observation": False,
            "exclude_current_positions_from_observation": False,
        }

    @property
    def number_of_features(self) -> int:
        return 2

    def sample(self, rng: np.random.Generator, split: Split) -> np.ndarray:
        inside = rng.uniform(-self.size, self.size, 2)
        if split != "ood":
            return inside
        # One coordinate beyond the square, the other anywhere within the larger one.
        reach = self.size * (1.0 + 2.0 * OUT)
        beyond = rng.choice([-1.0, 1.0]) * (self.size + (reach - self.size) * (1.0 - rng.random()))
        return rng.permutation(np.array([beyond, rng.uniform(-reach, reach)]))


# --- what body ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bodies(Robot):
    """A task is a body: exponents of the factors on masses, inertias, dampings and frictions (`mujoco_envs.BODY`)."""

    limit: float = 3.0
    """Exponents are drawn from −limit to limit; `ood` exponents lie beyond, by up to a third of it."""

    goal: ClassVar[str] = "body"

    @property
    def number_of_features(self) -> int:
        return BODY_SIZES[self.robot]

    def sample(self, rng: np.random.Generator, split: Split) -> np.ndarray:
        size = BODY_SIZES[self.robot]
        if split != "ood":
            return rng.uniform(-self.limit, self.limit, size)
        return rng.choice([-1.0, 1.0], size) * self.limit * (1.0 + (1.0 - rng.random(size)) / 3.0)


@dataclasses.dataclass(frozen=True)
class WalkerParams(Bodies):
    """A walker of two legs in the vertical plane whose body is hidden."""

    name: ClassVar[str] = "walker-params"
    robot: ClassVar[str] = "Walker2d-v5"
    observed: ClassVar[int] = 17
    actuators: ClassVar[int] = 6


@dataclasses.dataclass(frozen=True)
class HopperParams(Bodies):
    """A hopper of one leg in the vertical plane whose body is hidden."""

    name: ClassVar[str] = "hopper-params"
    robot: ClassVar[str] = "Hopper-v5"
    observed: ClassVar[int] = 11
    actuators: ClassVar[int] = 3
