"""What is optimised over tasks: their mean, the worst quarter, the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptax.evaluation.evaluate import evaluate
from adaptax.reproduction.gradient_methods import STREAMS, small, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.reproduction.outcome import Claim, Outcome, Table
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
        cells = (after.mean(), after.mean(0).std(ddof=1), result.worst_tenth(), after.mean(0).min())
        rows.append((objective, *(f"{x:.2f}" for x in cells)))
    worst = [np.sort(r.curve()[:, :, 1], 1)[:, :40].mean(1) for r in (results["cvar"], results["mean"])]
    gain = float((worst[0] - worst[1]).mean())
    spreads = [results[name].curve()[:, :, 1].std(1, ddof=1).mean() for name in ("cvar", "mean")]
    return Outcome(
        [
            Table(
                f"2D navigation: MAML's return after one round, by what is optimised over tasks; {SEEDS} seeds × 400 unseen goals",
                ("objective", "mean", "deviation over tasks", "worst tenth", "worst task"),
                rows,
                "cvar: the mean over the worst quarter of the tasks in a meta-update.",
            )
        ],
        [
            Claim(
                f"cvar: the tasks differ less than under the mean (deviation {spreads[0]:.2f} against {spreads[1]:.2f}; worst "
                f"tenth {gain:+.2f})",
                spreads[0] < spreads[1],
            )
        ],
        folders,
    )
