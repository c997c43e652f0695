"""What comparisons of gradient methods share: a method with its training, its five seeds, and differences in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.algorithms.registry import ENTRIES
from adaptax.reproduction.learning import SEEDS
from adaptax.tasks.base import AnyFamily
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume

STREAMS = 10
"""Episodes in a round."""
TASKS = 100
"""Unseen tasks."""
WAVES = 600
"""Unseen sine waves."""


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    config: Config
    updates: int


def small(name: str, updates: int, **changes: object) -> Method:
    """A method of the registry with a network and a number of tasks that two cores train in seconds."""
    sized = {"tasks": 20, "hidden": (32, 32)} | changes
    return Method(name, dataclasses.replace(ENTRIES[name].default, **sized), updates)  # type: ignore[type-var]


def trained(
    method: Method,
    family: AnyFamily,
    directory: Path,
    report: Report,
    seeds: int = SEEDS,
    first_seed: int = 0,
) -> list[Run]:
    """Several seeds of a method, from `first_seed` on."""
    return [
        train_or_resume(
            method.config, family, method.updates, seed, directory / method.name / f"seed-{seed}", report
        )
        for seed in range(first_seed, first_seed + seeds)
    ]


def each_seed(scores: np.ndarray, places: int = 1) -> str:
    """The mean of scores [seeds, tasks] for each seed."""
    return " ".join(f"{x:.{places}f}" for x in scores.mean(1))


def difference(adapted: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Mean difference, task by task and seed by seed, and its 95% interval."""
    low, high = statistics.paired_interval(adapted, other, "mean")
    return float((adapted - other).mean()), low, high


def in_words(gain: tuple[float, float, float], places: int = 1) -> str:
    return "{:+.{p}f} [{:+.{p}f}, {:+.{p}f}]".format(*gain, p=places)
