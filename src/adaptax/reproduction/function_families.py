"""Steps, polynomials and sums of sines from ten points: does MAML adapt to more than sine waves?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import WAVES, Method, difference, each_seed, in_words, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.reproduction.sinusoid import lower_error
from adaptax.tasks.functions import Fourier, Functions, Polynomial, Steps
from adaptax.training.train import Report

FAMILIES: tuple[Functions, ...] = (Steps(), Polynomial(), Fourier())
STEPS = (0, 1, 5, 10)
"""Adaptation steps after which the error is told."""
UPDATES = 3000


def function_families(directory: Path, report: Report, seeds: int = SEEDS) -> Outcome:
    """MAML and Meta-SGD on each family, beside one network for all its functions."""
    found = Outcome([], [], [])
    for family in FAMILIES:
        runs = {
            name: trained(Method(name, config, UPDATES), family, directory / family.name, report, seeds)
            for name in ("maml", "meta-sgd", "multi-task")
            if (config := ENTRIES[name].supervised)
        }
        alone = evaluate(runs["multi-task"], "test", WAVES, 0).curve()[:, :, 0]
        rows, claims = [], []
        for name in ("maml", "meta-sgd"):
            result = evaluate(runs[name], "test", WAVES, STEPS[-1])
            result.save(directory / family.name / name / "evaluation" / "test.safetensors")
            curve = result.curve()[:, :, list(STEPS)]
            gains = [difference(curve[:, :, -1], other) for other in (curve[:, :, 0], alone)]
            cells = [_error(scores) for scores in np.moveaxis(curve, 2, 0)]
            rows.append((name, *cells, each_seed(-curve[:, :, -1], 2), *(in_words(g, 2) for g in gains)))
            claims.append(lower_error(f"{family.name}, {name}", gains))
        rows.append(("multi-task", _error(alone), *[""] * (len(STEPS) - 1), each_seed(-alone, 2), "", ""))
        table = Table(
            f"{family.name}, {family.shots} points: mean squared error over {seeds} seeds × {WAVES} unseen functions",
            (
                "",
                *(f"{k} step{'s' * (k != 1)}" for k in STEPS),
                "each seed",
                "gain on unadapted",
                "gain on multi-task",
            ),
            rows,
            "Trained with five steps. Means with 95% intervals over seeds and functions.",
        )
        folders = [run.directory for members in runs.values() for run in members if run.directory]
        found += Outcome([table], claims, folders)
    return found


def _error(scores: np.ndarray) -> str:
    """Of scores, which are errors with a minus."""
    low, high = statistics.interval(-scores, "mean")
    return f"{-scores.mean():.3f} [{low:.3f}, {high:.3f}]"
