"""What is optimised over tasks: their mean, the worst quarter, the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import STREAMS, small, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.train import Report


def robust(directory: Path, report: Report) -> Outcome:
    """MAML on 2D navigation for the mean task, the worst quarter, and the worst task."""
    family, rows, folders, results = PointNavigation(), [], [], {}
    for objective in ("mean", "cvar", "worst"):
        runs = trained(small("maml", 30, objective=objective), family, directory / objective, report)
        results[objective] = result = evaluate(runs, "test", 400, 2 * STREAMS, label=objective)
        folders += [run.directory for run in runs if run.directory]
        after = result.curve()[:, :, 1]
        cells = (after.mean(), spread(after), result.worst_tenth(), after.mean(0).min())
        rows.append((objective, *(f"{x:.2f}" for x in cells)))
    under_mean, under_cvar = (results[name].curve()[:, :, 1] for name in ("mean", "cvar"))
    less, (low, high) = spread(under_mean) - spread(under_cvar), spread_interval(under_mean, under_cvar)
    return Outcome(
        [
            Table(
                f"2D navigation: MAML's return after one round, by what is optimised over tasks; {SEEDS} seeds × 400 unseen goals",
                ("objective", "mean", "deviation over tasks", "worst tenth", "worst task"),
                rows,
                "cvar: the mean over the worst quarter of the tasks in a meta-update. Deviation: of a seed over its tasks, the "
                "mean over seeds; worst tenth and worst task: of the means over seeds.",
            )
        ],
        [
            Claim(
                f"cvar: the tasks' deviation is smaller than under the mean by {less:.2f}, interval [{low:.2f}, {high:.2f}]",
                low > 0,
            )
        ],
        folders,
    )


def spread(scores: np.ndarray) -> float:
    """The standard deviation over tasks [seeds, tasks] of each seed, the mean over seeds."""
    return float(scores.std(1, ddof=1).mean())


def spread_interval(a: np.ndarray, b: np.ndarray, resamples: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval of spread(a) − spread(b), of the same seeds on the same tasks, over other seeds and tasks."""
    rng = np.random.default_rng(0)
    seeds, tasks = a.shape
    found = []
    for _ in range(resamples):
        drawn = np.ix_(rng.integers(seeds, size=seeds), rng.integers(tasks, size=tasks))
        found.append(spread(a[drawn]) - spread(b[drawn]))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
