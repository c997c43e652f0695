"""Gradient methods beside one another on control tasks: adaptation curves on unseen tasks at equal consumption, five seeds each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import STREAMS, TASKS, Method, difference, in_words, small, trained
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.tasks.base import AnyFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.progress import silent
from adaptax.training.train import Report, train

ROUNDS = 4
"""Every method meets the unseen tasks in so many rounds."""
NAMES = ("maml", "fomaml", "anil", "meta-sgd", "promp", "emaml", "gbml")
"""Methods that differentiate through adaptation; Reptile and L2O stand beside them."""


def from_scratch(updates: int, streams: int) -> Method:
    """L2O, which begins from a random policy."""
    config = dataclasses.replace(ENTRIES["l2o"].default, streams=streams)  # type: ignore[type-var]
    return Method("l2o", config, updates)


def navigation_methods() -> list[Method]:
    return [*(small(name, 30) for name in NAMES), small("reptile", 30), from_scratch(20, STREAMS)]


def cartpole_methods() -> list[Method]:
    return [*(small(name, 12) for name in NAMES), small("reptile", 6), from_scratch(4, STREAMS)]


PAPER_STREAMS = 20
PAPER_UPDATES = 100
"""Episodes in a round and meta-updates of Finn et al. 2017."""


def paper_methods() -> list[Method]:
    """The papers' hyperparameters, and where a paper has no such experiment the sizes of Finn et al. 2017."""
    sizes = {"tasks": 40, "streams": PAPER_STREAMS, "hidden": (100, 100), "activation": "relu"}
    methods = []
    for name in (*NAMES, "reptile"):
        own = dataclasses.replace(ENTRIES[name].default, **sizes)  # type: ignore[type-var]
        methods.append(Method(name, ENTRIES[name].paper or own, PAPER_UPDATES))
    return [*methods, from_scratch(PAPER_UPDATES, PAPER_STREAMS)]


def control_table(
    title: str, methods: Sequence[Method], family: AnyFamily, streams: int, directory: Path, report: Report
) -> Outcome:
    """Return of an episode before adaptation and after each round of `streams` episodes, and what adaptation is worth."""
    runs = {m.name: trained(m, family, directory, report) for m in methods}
    # The multi-task learner has had as many environment steps as the method that had most.
    most = [max(members[seed].env_steps for members in runs.values()) for seed in range(SEEDS)]
    policies = [
        train_as_long(family, most[seed], seed, directory / "multi-task" / f"seed-{seed}", report)
        for seed in range(SEEDS)
    ]
    alone = evaluate(policies, "test", TASKS, 1, label="multi-task")
    tuned = MultiTask(streams=streams, fine_tune_steps=20)
    layout = tuned.build(family.spec).test_layout(ROUNDS * streams)
    scratch = evaluate(
        [train(tuned, family, 0, seed, report=silent) for seed in range(SEEDS)], "test", TASKS, layout=layout, label="from scratch"
    )  # fmt: skip
    fine = evaluate(
        [dataclasses.replace(run, config=tuned, _algorithm=None) for run in policies],
        "test",
        TASKS,
        layout=layout,
        label="fine-tune",
    )
    rows, claims = [], []
    compromise = alone.curve()[:, :, 0]
    for method in methods:
        result = evaluate(runs[method.name], "test", TASKS, ROUNDS * streams, label=method.name)
        result.save(directory / method.name / "evaluation" / "test.safetensors")
        curve = result.curve()
        gains = [difference(curve[:, :, -1], other) for other in (curve[:, :, 0], compromise)]
        seconds = np.mean([run.seconds for run in runs[method.name]])
        rows.append(
            (method.name, *_means(result), *(in_words(g) for g in gains), _worst(result), f"{seconds:.0f} s")
        )
        claims.append(
            Claim(
                f"{method.name}: adapted beats its unadapted self by {in_words(gains[0])} and the multi-task learner by "
                f"{in_words(gains[1])}",
                min(low for _, low, _ in gains) > 0,
            )
        )
    for result in (fine, scratch):
        rows.append((result.label, *_means(result), "", "", _worst(result), ""))
    rows.append(("multi-task", f"{compromise.mean():.1f}", *[""] * (ROUNDS + 1), _worst(alone), ""))
    if alone.optimal is not None:
        rows.append(("oracle (closed form)", f"{alone.optimal.mean():.1f}", *[""] * (ROUNDS + 3)))
    rounds = (f"round {k}" for k in range(1, ROUNDS))
    header = ("method", "before", *rounds, "− unadapted", "− multi-task", "worst tenth", "training")
    note = (
        f"Mean return of an episode over {SEEDS} seeds × {TASKS} unseen tasks, in rounds of {streams} episodes; differences "
        "of the last round with 95% intervals. Worst tenth: of the tasks, after the last round. The multi-task learner has had "
        "as many environment steps as the method with most."
    )
    folders = [run.directory for members in (*runs.values(), policies) for run in members if run.directory]
    return Outcome([Table(title, header, rows, note)], claims, folders)


NAVIGATION = "2D navigation: gradient methods at equal consumption"
CARTPOLE = "CartPole with hidden physics, at most 200 steps: gradient methods at equal consumption"


def navigation(directory: Path, report: Report) -> Outcome:
    """2D navigation."""
    return control_table(NAVIGATION, navigation_methods(), PointNavigation(), STREAMS, directory, report)


def navigation_paper(directory: Path, report: Report) -> Outcome:
    """2D navigation with the papers' sizes."""
    return control_table(NAVIGATION, paper_methods(), PointNavigation(), PAPER_STREAMS, directory, report)


def cartpole(directory: Path, report: Report) -> Outcome:
    """CartPole with hidden physics and, in half of the tasks, exchanged actions."""
    return control_table(CARTPOLE, cartpole_methods(), CartPole(horizon=200), STREAMS, directory, report)


def cartpole_paper(directory: Path, report: Report) -> Outcome:
    """CartPole with the sizes of the papers' other tasks; none has this one."""
    return control_table(CARTPOLE, paper_methods(), CartPole(horizon=200), PAPER_STREAMS, directory, report)


def _means(result: Evaluation) -> list[str]:
    curve = result.curve()[:, :, :ROUNDS]
    return [f"{x.mean():.1f}" for x in np.moveaxis(curve, 2, 0)]


def _worst(result: Evaluation) -> str:
    return f"{result.worst_tenth():.1f}"
