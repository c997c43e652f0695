"""Meta-World (Yu et al. 2019; McLean et al. 2025): a robot arm that manipulates things, whose goal is hidden.

ML1: one environment, other goals in the test. ML10, ML25, ML45: that many environments to train on, others in the test.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split
from adaptax.tasks.simulated import SimulatedFamily
from adaptax.types import Box, Spec, Task

LONGEST = 500
"""Steps after which Meta-World's environments must be reset."""
PLACES = 6
"""The most numbers that places of objects and goal have."""


@dataclasses.dataclass(frozen=True)
class MetaWorld(SimulatedFamily):
    """What the benchmarks share. Success is what the environment calls so in any step of an episode."""

    horizon: int = LONGEST
    """Steps of an episode, at most 500."""
    episodes: int = 2
    """Of a lifetime of learners that remember."""
    reward: Literal["v1", "v2"] = "v2"
    """Which of Meta-World's rewards is paid: results with one do not compare with results with the other."""
    goals_seed: int = 0
    """Meta-World's seed of the 50 goals that each environment has for training, and of the 50 for testing."""

    extra: ClassVar[str] = "metaworld"
    packages: ClassVar[tuple[str, ...]] = ("metaworld",)
    success_key: ClassVar[str] = "success"
    reports_success: ClassVar[bool] = True
    name: ClassVar[str]

    @property
    def number_of_environments(self) -> int:
        return 1

    @property
    def spec(self) -> Spec:
        if not 1 <= self.horizon <= LONGEST or self.episodes < 1:
            raise AdaptaxError(
                f"{self.name} needs a horizon of 1 to {LONGEST} and episodes of at least 1, not {self.horizon} and {self.episodes}."
            )
        told = PLACES + (self.number_of_environments if self.number_of_environments > 1 else 0)
        return Spec(
            self.name, (39,), Box((-1.0,) * 4, (1.0,) * 4), self.horizon, self.episodes, told, ood=False
        )

    @property
    def environments(self) -> Any:
        from adaptax.tasks.metaworld_envs import Sawyer

        return Sawyer(self.reward)

    def names(self, split: Split) -> list[str]:
        """The environments of a split."""
        raise NotImplementedError

    def sample(self, rng: np.random.Generator, split: Split) -> Task:
        """One of the split's environments, and one of its 50 goals there."""
        _ = self.maker  # says it where Meta-World is not installed
        from adaptax.tasks.metaworld_envs import goals

        name = rng.choice(self.names(split))
        train, test = goals(str(name), self.goals_seed)
        drawn = test if split == "test" else train
        return drawn[rng.integers(len(drawn))]

    def features(self, task: Task) -> np.ndarray:
        """Which environment it is, where there are several, and where things are, filled up with zeros."""
        places = np.zeros(PLACES, np.float32)
        places[: len(task.places)] = task.places
        if self.number_of_environments == 1:
            return places
        which = np.zeros(self.number_of_environments, np.float32)
        which[(self.names("train") + self.names("test")).index(task.environment)] = 1.0
        return np.concatenate([which, places])


@dataclasses.dataclass(frozen=True)
class ML1(MetaWorld):
    """One environment: 50 goals for training, 50 others for testing."""

    environment: str = "reach-v3"
    """Meta-World's name of it."""

    name: ClassVar[str] = "metaworld-ml1"

    def names(self, split: Split) -> list[str]:
        return [self.environment]


class _Benchmark(MetaWorld):
    """Several environments for training, at most five others for testing."""

    training: ClassVar[int]

    @property
    def number_of_environments(self) -> int:
        return self.training + 5

    def names(self, split: Split) -> list[str]:
        from adaptax.tasks.metaworld_envs import environments

        return list(environments(f"ML{self.training}", "test" if split == "test" else "train"))


@dataclasses.dataclass(frozen=True)
class ML10(_Benchmark):
    """Ten environments for training, five others for testing."""

    name: ClassVar[str] = "metaworld-ml10"
    training: ClassVar[int] = 10


@dataclasses.dataclass(frozen=True)
class ML25(_Benchmark):
    """25 environments for training, four others for testing: the package's fifth is trained on too, and left out here."""

    name: ClassVar[str] = "metaworld-ml25"
    training: ClassVar[int] = 25


@dataclasses.dataclass(frozen=True)
class ML45(_Benchmark):
    """45 environments for training, five others for testing."""

    name: ClassVar[str] = "metaworld-ml45"
    training: ClassVar[int] = 45
