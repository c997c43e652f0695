"""Regression of sine waves from a few points (Finn et al. 2017, §5.1): errors after adaptation steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import WAVES, Method, difference, in_words, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.tasks.functions import Sinusoid
from adaptax.training.train import Report

STEPS = (0, 1, 5, 10)
"""Adaptation steps after which the error is told."""


UPDATES = {"maml": 6000, "fomaml": 6000, "anil": 6000, "meta-sgd": 6000, "gbml": 2500, "reptile": 5000}
PAPER_UPDATES = {"maml": 70_000, "fomaml": 70_000, "meta-sgd": 60_000, "reptile": 30_000}
"""Finn et al. 2017 (published code), Li et al. 2017, Nichol et al. 2018."""

PUBLISHED = {"maml": "0.77 ± 0.11", "meta-sgd": "0.53 ± 0.09"}
"""Test error from 10 points after one step, of learners trained with 10 points and one step (Li et al. 2017, table 1)."""


def sinusoid(directory: Path, report: Report) -> Outcome:
    """Sine waves from 5, 10 and 20 points, after 0, 1, 5 and 10 steps."""
    methods = [Method(name, ENTRIES[name].supervised, n) for name, n in UPDATES.items()]  # type: ignore[arg-type]
    return error_tables(methods, {}, 6000, "Trained with 10 points; ours with five steps.", directory, report)


def sinusoid_paper(directory: Path, report: Report) -> Outcome:
    """The same with the papers' hyperparameters and meta-updates."""
    methods = [
        Method(name, ENTRIES[name].paper_supervised, n)  # type: ignore[arg-type]
        for name, n in PAPER_UPDATES.items()
    ]
    points = {"reptile": Sinusoid(shots=50)}
    return error_tables(
        methods, points, 70_000, "Trained with 10 points, Reptile with 50.", directory, report
    )


READERS = {"snail": 6000, "metanet": 4000}
"""Learners that read the examples once."""


def reading(directory: Path, report: Report) -> Outcome:
    """Sine waves from 10 points that are read once."""
    methods = [Method(name, ENTRIES[name].supervised, n) for name, n in READERS.items()]  # type: ignore[arg-type]
    note = "One step: the examples have been read."
    return error_tables(methods, {}, 6000, note, directory, report, points=(10,), steps=(0, 1))


def lower_error(name: str, gains: Sequence[tuple[float, float, float]]) -> Claim:
    """Of a learner's gains over its unadapted self and over the multi-task network."""
    unadapted, joint = gains
    return Claim(
        f"{name}: the adapted error is below its unadapted one by {in_words(unadapted, 2)} and below the multi-task network's by "
        f"{in_words(joint, 2)}",
        min(low for _, low, _ in gains) > 0,
    )


def error_tables(
    methods: list[Method],
    trained_on: dict[str, Sinusoid],
    joint_updates: int,
    note: str,
    directory: Path,
    report: Report,
    points: tuple[int, ...] = (5, 10, 20),
    steps: tuple[int, ...] = STEPS,
) -> Outcome:
    """A table for each number of points, with the multi-task network beside the methods. `trained_on`: where not on 10 points."""
    family, tables, claims, folders = Sinusoid(), [], [], []
    runs = {m.name: trained(m, trained_on.get(m.name, family), directory, report) for m in methods}
    joint_config = ENTRIES["multi-task"].supervised
    assert joint_config is not None
    joint = trained(Method("multi-task", joint_config, joint_updates), family, directory, report)
    for shots in points:
        met = Sinusoid(shots=shots)
        alone = evaluate(joint, "test", WAVES, 0, family=met).curve()[:, :, 0]
        rows = []
        for name, members in runs.items():
            result = evaluate(members, "test", WAVES, steps[-1], family=met, label=name)
            curve = result.curve()[:, :, list(steps)]
            gains = [difference(curve[:, :, -1], other) for other in (curve[:, :, 0], alone)]
            cells = [
                f"{-x.mean():.3f} ± {1.96 * statistics.standard_error(x):.3f}"
                for x in np.moveaxis(curve, 2, 0)
            ]
            rows.append(
                (
                    name,
                    *cells,
                    *(in_words(g, 2) for g in gains),
                    PUBLISHED.get(name, "") if shots == 10 else "",
                )
            )
            if shots == 10:
                result.save(directory / name / "evaluation" / "test.safetensors")
                claims.append(lower_error(name, gains))
        rows.append(("multi-task", f"{-alone.mean():.3f}", *[""] * (len(steps) + 2)))
        tables.append(
            Table(
                f"Sine waves from {shots} points: mean squared error over {SEEDS} seeds × {WAVES} unseen waves",
                (
                    "method",
                    *(f"{k} step{'s' * (k != 1)}" for k in steps),
                    "gain on unadapted",
                    "gain on multi-task",
                    "published, 1 step",
                ),
                rows,
                f"{note} Published: Li et al. 2017, of learners trained with 10 points and one step.",
            )
        )
    for members in (*runs.values(), joint):
        folders += [run.directory for run in members if run.directory]
    return Outcome(tables, claims, folders)
