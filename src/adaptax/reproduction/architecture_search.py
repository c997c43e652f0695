"""Strategies of architecture search at equal budgets, read many times from a table of a small space.

Every architecture of the space is trained with several seeds (`search/table.py`); a repeat of a search reads what it would have
trained. Searches see validation scores of one seed. What they found is judged by test scores of the other seeds, on tasks that no
search met, beside random search at the same budget and the architecture made by hand.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.algorithms.registry import ENTRIES
from adaptax.reports.numbers import decimals, number
from adaptax.reports.outcome import Claim, Line, Outcome, Plot, Scatter
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import in_words
from adaptax.search.pareto import front
from adaptax.search.record import Trial
from adaptax.search.space import Space, described
from adaptax.search.strategies import STRATEGIES
from adaptax.search.table import Table as Trained
from adaptax.search.table import build_table, entry_of, others_test, searched
from adaptax.tasks.base import JaxFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.omniglot import Omniglot
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.progress import Progress
from adaptax.training.train import Report

REPEATS = 60
"""Of each search with each seed of the table; they differ in their dice."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A table and the budgets that searches are given."""

    name: str
    config: Config
    family: JaxFamily
    space: Space
    updates: tuple[int, ...]
    """Meta-updates after which candidates are scored; the last is a full training."""
    seeds: int
    budgets: tuple[int, ...]
    """In full trainings; the last is the one that claims are made of."""
    tasks: int = 100
    """Validation tasks, and test tasks."""


NAVIGATION = Study(
    "2D navigation, MAML",
    dataclasses.replace(ENTRIES["maml"].default, tasks=10, streams=5),  # type: ignore[type-var]
    PointNavigation(),
    Space(
        {
            "depth": (1, 2),
            "width": (8, 32),
            "activation": ("tanh", "relu"),
            "normalization": ("none", "layer"),
        }
    ),
    (3, 9, 27),
    5,
    (3, 4, 6, 8),
)
NAVIGATION_LARGE = dataclasses.replace(
    NAVIGATION,
    space=Space(
        {
            "depth": (1, 2, 3),
            "width": (8, 32),
            "activation": ("tanh", "relu"),
            "normalization": ("none", "layer"),
            "connections": ("plain", "residual"),
        }
    ),
    budgets=(4, 6, 8, 12),
)
"""Three times as many architectures: a search sees a quarter of them fully."""
CARTPOLE = Study(
    "CartPole with hidden physics, RL²",
    dataclasses.replace(ENTRIES["rl2"].default, tasks=16),  # type: ignore[type-var]
    CartPole(horizon=100),
    Space(
        {
            "cell": ("gru", "lstm", "mgu"),
            "hidden": (8, 32),
            "embedding": (0, 32),
            "normalization": ("none", "layer"),
        }
    ),
    (14, 42, 126),
    5,
    (3, 4, 6, 8),
)
OMNIGLOT = Study(
    "Omniglot at 14 × 14 pixels, 5 characters of 1 drawing, MAML",
    dataclasses.replace(ENTRIES["maml"].images, tasks=4),  # type: ignore[type-var]
    Omniglot(queries=3, side=14),
    Space(
        {"depth": (2, 3), "width": (8, 16), "activation": ("relu", "tanh"), "normalization": ("batch", "layer"),
         "connections": ("plain", "dense")}
    ),
    (18, 54, 160),
    5,
    (3, 4, 6, 8),
    tasks=200,
)  # fmt: skip


def search_navigation(directory: Path, report: Report) -> Outcome:
    return compared(NAVIGATION, directory, report)


def search_navigation_large(directory: Path, report: Report) -> Outcome:
    return compared(NAVIGATION_LARGE, directory, report)


def search_cartpole(directory: Path, report: Report) -> Outcome:
    return compared(CARTPOLE, directory, report)


def search_omniglot(directory: Path, report: Report) -> Outcome:
    return compared(OMNIGLOT, directory, report)


def compared(study: Study, directory: Path, report: Report) -> Outcome:
    """The table, made where it is not there yet, and what searches find in it."""

    def told(done: int, total: int) -> None:
        nan = float("nan")
        report(Progress("architectures", "training", done, total, 0, nan, nan, nan, nan, "return", {}))

    trained = build_table(
        study.config,
        study.family,
        study.space,
        study.updates,
        study.seeds,
        study.tasks,
        directory,
        report=told,
    )
    return outcome(study, trained)


def outcome(study: Study, trained: Trained) -> Outcome:
    """What searches find in a table."""
    measure = f"{study.family.spec.measure} after adaptation"
    by_hand = float(np.mean(trained.by_hand.test))
    hand = np.array([[others_test(trained.by_hand, seed)] for seed in range(trained.seeds)])
    tests = np.array([np.mean(entry.test) for entry in trained.entries])
    found = {name: {b: repeats(trained, name, b) for b in study.budgets} for name in STRATEGIES}
    most = study.budgets[-1]
    at_random, rows, claims, lines = found["random"][most], [], [], []
    places = decimals([tests.std() / 5], [by_hand])
    for name, by_budget in found.items():
        of_mean = [(float(x.mean()), *interval(x)) for x in by_budget.values()]
        gains = [gain(by_budget[most], other) for other in (at_random, hand)]
        rows.append(
            [
                name, *(number(mean, places) for mean, _, _ in of_mean), "" if name == "random" else in_words(gains[0], 2),
                in_words(gains[1], 2),
            ]
        )  # fmt: skip
        if name != "random":
            claims.append(
                Claim(
                    f"{study.name}: with a budget of {most} trainings, {name} finds architectures {in_words(gains[0], 2)} better "
                    f"than random search does, and {in_words(gains[1], 2)} better than the one made by hand ({measure}, test)",
                    gains[0][1] > 0,
                )
            )
        means, lows, highs = map(list, zip(*of_mean, strict=True))
        lines.append(Line(name, [float(b) for b in study.budgets], means, lows, highs))
    blank = [""] * 2
    for name, value in (
        ("by hand", by_hand),
        ("mean of all", tests.mean()),
        ("best of all, seen by test scores", tests.max()),
    ):
        rows.append([name, *[number(float(value), places)] * len(study.budgets), *blank])
    note = (
        f"{measure}: means over {REPEATS} repeats of each search with each of {trained.seeds} seeds, read from a table of "
        f"{len(trained.entries)} architectures that were all trained for {study.updates[-1]} meta-updates. Intervals are over "
        "seeds and repeats, and say nothing of other spaces. Searches see validation scores of one seed; test scores are of the "
        "others."
    )
    columns = [
        "strategy",
        *(f"budget {b}" for b in study.budgets),
        f"above random, {most}",
        f"above by hand, {most}",
    ]
    tables = [Table(study.name, columns, rows, note), spread(trained, places)]
    plots = [Plot("What searches find", "budget, full trainings", measure, lines), pareto(trained, measure)]
    return Outcome(tables, claims, [], plots)


def repeats(trained: Trained, name: str, budget: int) -> Float[np.ndarray, "seeds repeats"]:
    """The test score of what each search found."""
    return np.array(
        [[one(trained, name, budget, s, r) for r in range(REPEATS)] for s in range(trained.seeds)]
    )


def one(trained: Trained, name: str, budget: int, seed: int, repeat: int) -> float:
    """Of one search, by the seeds that it has not seen."""
    trials = searched(trained, STRATEGIES[name], budget, seed, repeat)
    return others_test(entry_of(trained, chosen(trials).genes), seed)


def chosen(trials: list[Trial]) -> Trial:
    """The best by its validation score, of those that were trained longest."""
    longest = max(trial.updates for trial in trials)
    return max((t for t in trials if t.updates == longest), key=lambda t: t.score)


def gain(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Mean difference of repeats with the same dice and seed, and its 95% interval."""
    return float((x - y).mean()), *interval(x - y)


def interval(x: Float[np.ndarray, "seeds repeats"]) -> tuple[float, float]:
    """95% bootstrap interval of the mean, as if seeds and repeats were drawn anew."""
    return statistics.interval(x, "mean", over="both")


def spread(trained: Trained, places: int) -> Table:
    """The architectures from the best to the worst, with what seeds make of each: whether there is anything to be found."""
    ordered = sorted(trained.entries, key=lambda e: -np.mean(e.test))
    shown = [*ordered[:3], *ordered[-3:], trained.by_hand]
    rows = [
        [
            described(e.genes) if e.genes else "by hand", number(float(np.mean(e.test)), places),
            " ".join(number(x, places) for x in e.test), f"{e.parameters:,}",
        ]
        for e in shown
    ]  # fmt: skip
    means = np.array([np.mean(e.test) for e in trained.entries])
    within = (
        np.mean([np.var(e.test, ddof=1) for e in trained.entries]) ** 0.5
        if trained.seeds > 1
        else float("nan")
    )
    across, of_seeds = number(float(means.std(ddof=1)), places), number(float(within), places)
    note = (
        f"The best three and the worst three of {len(ordered)}. Standard deviation of the means {across}, of the seeds "
        f"of one architecture {of_seeds}."
    )
    return Table(
        "The space",
        ["architecture", "test score", "of each seed", "parameters"],
        rows,
        note,
        frozenset({0, 2}),
    )


def pareto(trained: Trained, measure: str) -> Scatter:
    """All architectures, by their test scores and sizes."""
    entries = [*trained.entries, trained.by_hand]
    y, x = [float(np.mean(e.test)) for e in entries], [float(e.parameters) for e in entries]
    on_front = sorted(np.flatnonzero(front(y, x)).tolist(), key=lambda i: x[i])
    return Scatter("All architectures", "parameters", measure, x, y, on_front, {len(entries) - 1: "by hand"})
