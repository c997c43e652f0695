"""One candidate: trained on training tasks, and scored as it adapts to validation tasks, or in the end to test tasks."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from adaptax.algorithms.base import Config
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.search.cost import latency, parameters
from adaptax.search.workers import Interrupted
from adaptax.tasks.base import AnyFamily, Split
from adaptax.training.progress import silent
from adaptax.training.train import train_or_resume

VALIDATION_SEED = 30_000
"""Validation tasks are drawn with this key, from the training split: others than those met in training, and than those of tests."""
SCORES = {
    "adapted": "after adaptation",
    "curve": "on average over the adaptation curve, before, during and after",
    "worst-tenth": "after adaptation, over the tenth of the tasks where it is least",
}
"""What a candidate can be scored by, in the family's measure."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A training and an evaluation."""

    config: Config
    family: AnyFamily
    """Trained on."""
    tested_on: AnyFamily
    updates: int
    """Meta-updates in all."""
    seed: int
    directory: Path
    """Of the run."""
    split: Split
    tasks: int
    task_seed: int
    keep: Path | None = None
    """File for the evaluation."""

    def run(self) -> Measured:
        """Trains, from the directory's checkpoint on if there is one, evaluates, and measures.

        Raises AdaptaxError where training diverges, Interrupted where it was stopped.
        """
        started = time.perf_counter()
        run = train_or_resume(self.config, self.family, self.updates, self.seed, self.directory, silent)
        if run.updates < self.updates:
            raise Interrupted
        result = evaluate(run, self.split, self.tasks, family=self.tested_on, seed=self.task_seed)
        if self.keep is not None:
            result.save(self.keep)
        adapt_ms, act_us = latency(run)
        seconds = time.perf_counter() - started
        return Measured(scored(result), parameters(run), adapt_ms, act_us, run.env_steps, seconds)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a job found."""

    scores: dict[str, float]
    """By the names of `SCORES`."""
    parameters: int
    adapt_ms: float
    act_us: float
    env_steps: int
    seconds: float


def parts(family: AnyFamily) -> tuple[AnyFamily, AnyFamily]:
    """The family that a search trains on, and the one whose training tasks it validates on.

    A family with a field `part` holds classes back from training for that; of another, whose tasks are drawn from a prior, the same
    family gives others by another key.
    """
    if dataclasses.is_dataclass(family) and any(field.name == "part" for field in dataclasses.fields(family)):
        return (
            dataclasses.replace(family, part="fit"),  # type: ignore[call-arg]
            dataclasses.replace(family, part="validation"),  # type: ignore[call-arg]
        )
    return family, family


def scored(result: Evaluation) -> dict[str, float]:
    """A number for each of `SCORES`."""
    curve = result.curve()
    found = {
        "adapted": float(curve[:, :, -1].mean()),
        "curve": float(curve.mean()),
        "worst-tenth": result.worst_tenth(),
    }
    assert found.keys() == SCORES.keys()
    if not np.isfinite(list(found.values())).all():
        raise AdaptaxError("its scores are not finite")
    return found
