"""Meta-World's environments of a task, as worker processes make them, and the goals that its tasks have.

Imports no JAX, so that worker processes start fast.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Sequence
from typing import Literal, NamedTuple

import gymnasium
import metaworld
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3, ML25_V3, ML45_V3
from metaworld.types import Task

from adaptax.errors import AdaptaxError, near

BENCHMARKS = {"ML10": ML10_V3, "ML25": ML25_V3, "ML45": ML45_V3}


class Goal(NamedTuple):
    """A task: which environment, and where things are in it."""

    environment: str
    places: tuple[float, ...]
    """Of objects and goal, in m; what they mean is the environment's."""


@dataclasses.dataclass(frozen=True)
class Sawyer:
    """Makes the environment of a goal, which the observation does not tell."""

    reward: Literal["v1", "v2"]

    def make(self, task: Goal, render_mode: str | None = None) -> gymnasium.Env:
        cls = environment(task.environment)
        env = cls(reward_function_version=self.reward, render_mode=render_mode)
        what = {"rand_vec": np.array(task.places), "env_cls": cls, "partially_observable": True}
        env.set_task(Task(task.environment, pickle.dumps(what)))
        return env


def environment(name: str) -> type:
    """Meta-World's class. Raises AdaptaxError where there is none of that name."""
    if name not in ALL_V3_ENVIRONMENTS:
        raise AdaptaxError(
            f"Meta-World has no environment '{name}'; {near(name, ALL_V3_ENVIRONMENTS)}there are: "
            f"{', '.join(ALL_V3_ENVIRONMENTS)}."
        )
    return ALL_V3_ENVIRONMENTS[name]


def environments(benchmark: str, split: Literal["train", "test"]) -> Sequence[str]:
    """The names of a benchmark's environments. What is trained on is not tested on: ML25 of Meta-World 3.1.1 lists basketball-v3
    for both."""
    train, test = BENCHMARKS[benchmark]["train"], BENCHMARKS[benchmark]["test"]
    return list(train) if split == "train" else [name for name in test if name not in train]


@functools.cache
def goals(name: str, seed: int) -> tuple[list[Goal], list[Goal]]:
    """50 goals of an environment for training and 50 for testing: those of `metaworld.ML1(name, seed)`. Takes a second or two."""
    environment(name)
    benchmark = metaworld.ML1(name, seed=seed)
    return tuple(  # type: ignore[return-value]
        [Goal(name, tuple(pickle.loads(task.data)["rand_vec"].tolist())) for task in tasks]
        for tasks in (benchmark.train_tasks, benchmark.test_tasks)
    )
