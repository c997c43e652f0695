"""Meta-experience replay on new tasks: what it gains there, and what the selection of old experience has to do with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adaptax import statistics
from adaptax.algorithms.mer import MER
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import TASKS, difference, in_words
from adaptax.reproduction.learning import learning_result, train_as_long
from adaptax.tasks.cartpole import CartPole
from adaptax.training.load import load
from adaptax.training.train import Report

FAMILY = CartPole(horizon=200)
EPISODES = (0, 1, 2, 5, 10)
FEW = 2
"""Episodes after which the two are compared."""


def mer_learns(directory: Path, report: Report) -> Outcome:
    """The learning result of MER, and beside it MER with uniform replay."""
    entry = ENTRIES["mer"]
    config = entry.default
    assert isinstance(config, MER)
    episodes = EPISODES[-1] + 1
    found = learning_result("mer", config, FAMILY, entry.updates, directory, report, TASKS, episodes)
    selected = Evaluation.load(directory / "mer" / "evaluation" / "test.safetensors")
    runs = [load(folder) for folder in found.folders if folder.parent.name == "mer"]
    other = dataclasses.replace(config, selection="uniform")
    uniform = [
        train_as_long(FAMILY, run.env_steps, run.seed, directory / "mer-uniform" / f"seed-{run.seed}", report, other)
        for run in runs
    ]  # fmt: skip
    alike = evaluate(uniform, "test", TASKS, episodes, label="mer, uniform replay")
    curves = {
        name: result.curve()[:, :, list(EPISODES)]
        for name, result in (("selected", selected), ("uniform", alike))
    }
    at = EPISODES.index(FEW)
    lead = difference(*(curve[:, :, at] for curve in curves.values()))
    rows = [
        (name, *(f"{x:.1f}" for x in curve.mean((0, 1))), "[{:.1f}, {:.1f}]".format(*statistics.interval(curve[:, :, at], "mean")))
        for name, curve in curves.items()
    ]  # fmt: skip
    header = ("replay", *(f"after {e}" for e in EPISODES), f"95% interval after {FEW}")
    note = f"Mean return of an episode after so many of the new task, over {len(runs)} seeds × {TASKS} unseen tasks."
    table = Table("CartPole with hidden physics, at most 200 steps: what MER replays", header, rows, note)
    claim = Claim(
        f"mer: after {FEW} episodes selected replay beats uniform replay by {in_words(lead)}", lead[1] > 0
    )
    return found + Outcome([table], [claim], [run.directory for run in uniform if run.directory])
