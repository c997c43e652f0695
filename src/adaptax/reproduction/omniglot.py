"""Omniglot, five characters and one drawing of each: accuracy on unseen characters against adaptations to the drawings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adaptax.algorithms.base import Config
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.answers import keep_answers
from adaptax.evaluation.summaries import mean_interval
from adaptax.reports.outcome import Claim, Line, Outcome, Plot
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.kept import evaluated
from adaptax.tasks.base import SupervisedFamily
from adaptax.tasks.omniglot import Omniglot
from adaptax.training.run import Run
from adaptax.training.train import Report

FAMILY = Omniglot(queries=5)
TASKS = 600
"""Unseen tasks, as in the papers."""
TOLD = (0, 1, 3, 5)
"""Adaptations to a new task after which the accuracy is told; Finn et al. 2017, appendix A.1, take 3."""
ENOUGH = 0.93
"""The accuracy to be reached by the first method of the table."""


def method(
    name: str, updates: int, transductive: bool = False, paper: bool = False, **changes: object
) -> Method:
    """A method of the registry with the settings for images, under a name that says where its queries' statistics come from."""
    entry = ENTRIES[name]
    preset = entry.paper_images if paper else entry.images
    assert preset is not None
    if transductive:
        changes["transductive"] = True
    config: Config = dataclasses.replace(preset, **changes)  # type: ignore[type-var]
    return Method(f"{name}-transductive" if transductive else name, config, updates)


METHODS = (
    method("maml", 1200, transductive=True),
    method("maml", 500),
    method("fomaml", 500, transductive=True),
    method("anil", 500, transductive=True),
    method("reptile", 1000, transductive=True),
    method("metanet", 500, transductive=True),
    method("snail", 800),
    method("protonet", 500),
)
"""The network is that of the papers in all of them."""
JOINT_UPDATES = 200
PAPER_METHODS = (
    method("maml", 40_000, transductive=True, paper=True),
    method("fomaml", 40_000, transductive=True, paper=True),
    method("anil", 40_000, transductive=True, paper=True),
    method("reptile", 100_000, transductive=True, paper=True),
    method("protonet", 20_000, paper=True),
)
TRAINED_ON = {
    "maml": Omniglot(queries=1),
    "fomaml": Omniglot(queries=1),
    "anil": Omniglot(queries=1),
    "reptile": Omniglot(queries=14),
}
"""With the papers' settings: how many other drawings of a character a training task shows."""

PUBLISHED = {
    "maml-transductive": "98.7 ± 0.4", "fomaml-transductive": "98.3", "reptile-transductive": "97.68 ± 0.04",
    "metanet": "98.95", "snail": "99.07 ± 0.16", "protonet": "97.4",
}  # fmt: skip
"""Finn et al. 2017, Nichol et al. 2018, Munkhdalai & Yu 2017, Mishra et al. 2018, Snell et al. 2017, after their full trainings."""


def omniglot(directory: Path, report: Report, seeds: int = 1) -> Outcome:
    """Every method beside the others, with small budgets; the first has the largest."""
    return accuracies(METHODS, {}, JOINT_UPDATES, directory, report, seeds)


def omniglot_paper(directory: Path, report: Report) -> Outcome:
    """The same with the papers' settings and meta-updates."""
    return accuracies(PAPER_METHODS, TRAINED_ON, 2000, directory, report, 1)


def accuracies(
    methods: tuple[Method, ...], trained_on: dict[str, Omniglot], joint_updates: int, directory: Path, report: Report, seeds: int,
    family: SupervisedFamily = FAMILY, tasks: int = TASKS,
) -> Outcome:  # fmt: skip
    """The table, with the multi-task network beside the methods. `trained_on`: where not on `family`."""
    joint = trained(method("multi-task", joint_updates), family, directory, report, seeds)
    alone = evaluated(joint, family, tasks, 0, directory / "multi-task/evaluation/test.safetensors").curve()
    alone = alone[:, :, 0]
    rows, claims, lines, folders = [], [], [], [run.directory for run in joint if run.directory]
    for i, m in enumerate(methods):
        runs = trained(m, trained_on.get(m.name.split("-")[0], family), directory, report, seeds)
        kept = directory / m.name / "evaluation"
        result = evaluated(runs, family, tasks, TOLD[-1], kept / "test.safetensors")
        folders += [run.directory for run in runs if run.directory]
        if runs[0].directory:
            keep_answers(runs[0].directory, runs[0], adaptations=TOLD[-1])
        apart = ""
        if result.transductive:
            of_each = evaluated(
                [one_by_one(r) for r in runs], family, tasks, TOLD[-1], kept / "apart/test.safetensors"
            )
            apart = f"{100 * of_each.curve()[:, :, -1].mean():.1f}"
        curve = result.curve()
        means = curve.mean((0, 1)).tolist()
        intervals = [mean_interval(curve[:, :, p]) for p in range(curve.shape[2])]
        gains = [difference(100 * curve[:, :, -1], 100 * other) for other in (curve[:, :, 0], alone)]
        cells = {
            p: f"{100 * means[p]:.1f} ± {50 * (high - low):.1f}" for p, (low, high) in enumerate(intervals)
        }
        rows.append(
            (
                result.name, *(cells.get(p, "") for p in TOLD), each_seed(100 * curve[:, :, -1]), apart,
                *(in_words(gain) for gain in gains), f"{m.updates:,}", f"{sum(result.training_seconds) / len(runs):.0f}",
                PUBLISHED.get(m.name, ""),
            )
        )  # fmt: skip
        claims.append(
            Claim(
                f"{result.name}: {means[-1]:.1%} after adaptation, {in_words(gains[0])} points more than before it and "
                f"{in_words(gains[1])} more than the multi-task network",
                min(low for _, low, _ in gains) > 0,
            )
        )
        if i == 0:
            low, high = intervals[-1]
            claims.append(
                Claim(
                    f"{result.name} reaches {means[-1]:.1%} [{low:.1%}, {high:.1%}], at least {ENOUGH:.0%}",
                    means[-1] >= ENOUGH,
                )
            )
        lines.append(
            Line(
                result.name,
                [float(p) for p in range(len(means))],
                means,
                *map(list, zip(*intervals, strict=True)),
            )
        )
    empty = [""] * (len(TOLD) - 1)
    percent = 100 * alone
    rows.append(
        ("multi-task, transductive", f"{percent.mean():.1f}", *empty, each_seed(percent), *[""] * 6),
    )
    table = Table(
        f"Omniglot, 5 characters, 1 drawing of each: % right of {tasks} unseen tasks, {seeds} seed{'s' * (seeds > 1)}",
        (
            "method", *("unadapted" if k == 0 else f"{k} adaptation{'s' * (k > 1)}" for k in TOLD), "each seed, adapted",
            "one by one", "gain on unadapted", "gain on multi-task", "updates", "seconds", "published",
        ),
        rows,
        f"Transductive: a task's queries, {FAMILY.queries} of each character, are normalised together; elsewhere by the support's "
        "statistics. One by one: what was trained transductively, asked by the support's statistics. Learners that read the "
        "drawings once have one adaptation. Seconds: of one training. Published: after the papers' full trainings.",
    )  # fmt: skip
    return Outcome(
        [table], claims, folders, [Plot("Accuracy on unseen characters", "adaptations", "accuracy", lines)]
    )


def one_by_one(run: Run) -> Run:
    """The same parameters; queries are normalised by the support's statistics."""
    config = dataclasses.replace(run.config, transductive=False)  # type: ignore[type-var]
    return dataclasses.replace(run, config=config, _algorithm=None)
