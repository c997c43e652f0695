"""MAML on 2D navigation (Finn et al. 2017, §5.3): return before adaptation and after each round, on unseen goals."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.progress import silent
from adaptax.training.run import Run
from adaptax.training.train import Report, train, train_or_resume

GOALS = 100
"""Unseen goals."""
ROUNDS = 4
NAVIGATION = MAML()


def train_navigation(updates: int, directory: Path, report: Report, seed: int = 0) -> Run:
    """Meta-trains MAML with its PPO-style outer step."""
    return train_or_resume(NAVIGATION, PointNavigation(), updates, seed, directory, report)


def navigation_table(run: Run, goals: int = GOALS) -> Outcome:
    """The adaptation curve of MAML beside random, from scratch with the same budget, and the closed-form oracle."""
    assert run.directory is not None
    episodes = ROUNDS * run.algorithm.layout.streams
    streams = run.algorithm.layout.streams
    scratch = train(MultiTask(streams=streams, fine_tune_steps=20), run.family, 0, report=silent)
    random = train(RandomPolicy(), run.family, 0, report=silent)
    result = evaluate(run, "test", goals, episodes)
    from_scratch = evaluate(scratch, "test", goals, episodes, label="from-scratch")
    at_random = evaluate(random, "test", goals, 1)
    folder = run.directory / "evaluation"
    result.save(folder / "test.safetensors")
    for baseline in (from_scratch, at_random):
        baseline.save(folder / f"test-{baseline.label}.safetensors")
    unadapted = f"{result.curve()[:, :, 0].mean():.2f}"
    rows = [
        _row("MAML", result),
        ("MAML, no adaptation",) + (unadapted,) * ROUNDS,
        _row("from scratch, same budget", from_scratch),
        _row("random", at_random),
    ]
    optimal = result.optimal
    assert optimal is not None
    rows.append(("oracle (closed form)", f"{optimal.mean():.2f}") + ("",) * (ROUNDS - 1))
    curve = result.curve()
    gain = curve[0, :, 1] - curve[0, :, 0]
    low, high = statistics.interval(gain[None], "mean")
    consumed = ", ".join(f"{c:,.0f}" for c in result.consumed())
    return Outcome(
        [
            Table(
                title=f"2D navigation: mean return of an episode over {goals} unseen goals",
                columns=("method", "before", *(f"after round {k}" for k in range(1, ROUNDS))),
                rows=rows,
                note=f"Environment steps of the new task used before each column: {consumed}. Actions are sampled.",
            )
        ],
        [
            Claim(
                f"one round of adaptation gains {gain.mean():.1f}, 95% interval [{low:.1f}, {high:.1f}]",
                low > 0,
            )
        ],
        [run.directory],
    )


def _row(name: str, result: Evaluation) -> tuple[str, ...]:
    means = result.curve().mean((0, 1))
    errors = [1.96 * statistics.standard_error(c) for c in np.moveaxis(result.curve(), 2, 0)]
    cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(means, errors, strict=True)]
    return (name, *(cells if result.by_round else [f"{means.mean():.2f}", "", "", ""]))
