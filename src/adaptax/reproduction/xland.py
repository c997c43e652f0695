"""RL² on XLand-MiniGrid: return and success of each episode on rulesets that meta-training never met."""

from __future__ import annotations

from pathlib import Path

from adaptax import statistics
from adaptax.algorithms.rl2 import RL2
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.learning import SEEDS, learning_result
from adaptax.tasks.xland import XLand
from adaptax.training.train import Report

CONFIG = RL2(tasks=64, hidden=256, embedding=64, epochs=1, minibatches=8, lr=1e-3)
"""The step size, the memory, and the number of passes and parts of the package's own RL²."""
UPDATES = 1000
TASKS = 200


def family() -> XLand:
    """One room of 9 × 9; shorter episodes than the package's, of which there are then more."""
    return XLand(rulesets=1000, episode_steps=80, episodes=3)


def xland_learns(directory: Path, report: Report) -> Outcome:
    """The learning result, and how it came about from episode to episode."""
    outcome = learning_result("rl2", CONFIG, family(), UPDATES, directory, report, TASKS)
    return Outcome([*outcome.tables, by_episode(directory)], outcome.claims, outcome.folders)


def by_episode(directory: Path) -> Table:
    """Of the evaluation that a learning result has kept."""
    result = Evaluation.load(directory / "rl2" / "evaluation" / "test.safetensors")
    curve, successes = result.curve(), result.success_rate()
    assert successes is not None
    rows = [
        (
            str(i + 1),
            f"{curve[:, :, i].mean():.3f}",
            "[{:.3f}, {:.3f}]".format(*interval),
            f"{successes[i]:.1%}",
        )
        for i in range(curve.shape[2])
        for interval in [statistics.interval(curve[:, :, i], "mean")]
    ]
    title = f"rl2 on unseen rulesets, episode by episode: {SEEDS} seeds × {TASKS} rulesets"
    return Table(title, ("episode", "return", "95% interval", "success"), rows)
