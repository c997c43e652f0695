"""The tables of a report, as text: for the terminal (rich) and for the page alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.box
import rich.table
from rich.console import Group
from rich.markup import escape
from rich.text import Text

from adaptax.reports.numbers import NOTHING, bracket, count, decimals, duration, number, percent
from adaptax.reports.summary import EvaluationSummary, RunSummary, headline_split

PATH_POINTS = 4
"""Points of an adaptation curve that fit in one cell."""
SPLITS = ("train", "test", "ood")


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, columns and rows of finished text; `note` says how to read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text_columns: frozenset[int] = frozenset({0})
    """Columns that are set from the left; the others hold numbers."""
    strong: frozenset[int] = frozenset()
    """Rows to stand out: the learners among baselines."""


def console(table: Table) -> Group:
    """The table for a terminal."""
    grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(table.columns):
        side = "left" if i in table.text_columns else "right"
        grid.add_column(escape(column), justify=side, overflow="fold")
    for i, row in enumerate(table.rows):
        grid.add_row(*map(escape, row), style="bold" if i in table.strong else None)
    # as texts of their own: those of rich's tables are broken at the width of the table
    return Group(Text(table.title, "bold"), grid, *([Text(table.note, "dim")] if table.note else []))


def headline(evaluations: Sequence[EvaluationSummary], split: str | None = None) -> Table:
    """A row per method on one split (None: the test split): score, interval, adaptation, steps used, cost."""
    split = headline_split(evaluations) if split is None else split
    shown = [e for e in evaluations if e.split == split]
    of_scores, of_curves = score_places(shown), curve_places(shown)
    columns = {
        "method": [e.label for e in shown],
        "IQM of": [e.score for e in shown],
        "IQM": [number(e.iqm, of_scores) for e in shown],
        "95% interval": [bracket(*e.interval, of_scores) for e in shown],
        "as it adapts": [_path(e, of_curves) for e in shown],
        "worst tenth": [number(e.worst_tenth, of_curves) for e in shown],
        "steps used": [count(e.steps_consumed[-1]) for e in shown],
        "success": [percent(e.success_rate) for e in shown],
        "regret": [number(e.regret, of_curves) for e in shown],
        "tasks × seeds": [f"{count(e.n_tasks)} × {e.n_seeds}" for e in shown],
        "actions": [e.actions for e in shown],
        "time": [duration(e.seconds) for e in shown],
    }
    if len(set(columns["IQM of"])) <= 1:
        del columns["IQM of"]  # the note says it
    for optional in ("success", "regret", "worst tenth"):
        if set(columns[optional]) == {NOTHING}:
            del columns[optional]
    constant = [name for name in ("tasks × seeds", "actions") if len(set(columns[name])) == 1]
    same = ", ".join(f"{name} {columns.pop(name)[0]}" for name in constant)
    measure, unit = (
        " / ".join(dict.fromkeys(getattr(e, name) for e in shown)) for name in ("measure", "unit")
    )
    scores = " / ".join(dict.fromkeys(e.score for e in shown))
    note = (
        f"IQM: interquartile mean of the {scores} over tasks and seeds, with its bootstrap interval. As it "
        f"adapts: mean {measure} before adaptation and along it (at most {PATH_POINTS} points). Worst tenth: the same after "
        f"adaptation, over the tenth of the tasks where it is least. Steps used: {unit} of the new task before the last point. "
        "Time: wall clock of the evaluation."
    )
    names = list(columns)
    return Table(
        "Results on the " + ("training tasks" if split == "train" else f"{split} tasks"),
        names,
        list(zip(*columns.values(), strict=True)),
        note + (f" In all rows: {same}." if same else ""),
        frozenset(
            i for i, name in enumerate(names) if name in ("method", "IQM of", "as it adapts", "actions")
        ),
        _strong(shown),
    )


def splits(evaluations: Sequence[EvaluationSummary]) -> Table:
    """A row per method; train, test and ood side by side."""
    places = score_places(evaluations)
    found = {(e.label, e.split): e for e in evaluations}
    labels = list(dict.fromkeys(e.label for e in evaluations))
    names = [split for split in SPLITS if any(e.split == split for e in evaluations)]

    def cell(label: str, split: str) -> str:
        e = found.get((label, split))
        return NOTHING if e is None else f"{number(e.iqm, places)} {bracket(*e.interval, places)}"

    return Table(
        "Splits side by side",
        ["method", *names],
        [[label, *(cell(label, split) for split in names)] for label in labels],
        "IQM and its 95% interval.",
        strong=_strong([next(e for e in evaluations if e.label == label) for label in labels]),
    )


def sharing(evaluations: Sequence[EvaluationSummary]) -> str:
    """Which splits share tasks, and which were not evaluated."""
    if any(e.shared_tasks for e in evaluations):
        sentence = "Train and test share their tasks: test shows adaptation to tasks that training has seen."
    else:
        sentence = "No two splits share tasks."
    absent = [split for split in SPLITS if not any(e.split == split for e in evaluations)]
    return sentence + (f" Not evaluated: {', '.join(absent)}." if absent else "")


def adaptation(evaluations: Sequence[EvaluationSummary]) -> Table:
    """Every point of every adaptation curve."""
    places = curve_places(evaluations)
    rows = []
    for e in evaluations:
        points = zip(e.episodes, e.steps_consumed, e.mean, e.low, e.high, strict=True)
        for i, (episode, steps, mean, low, high) in enumerate(points):
            name = [e.label, e.split] if i == 0 else ["", ""]
            rows.append([*name, str(episode), count(steps), number(mean, places), bracket(low, high, places)])
    columns = ["method", "split", "point", "steps used before", "mean", "95% interval"]
    return Table("Every adaptation point", columns, rows, text_columns=frozenset({0, 1}))


def training(runs: Sequence[RunSummary]) -> Table:
    """A row per run: how much meta-training took, and where it ended."""
    finals = [_final_return(run) for run in runs]
    places = decimals([], finals)
    columns = ["run", "algorithm", "meta-updates", "env steps", "time", "env steps/s", "final return"]
    note = "Final return: mean over the last tenth of the meta-updates."
    bad = [sum(not math.isfinite(metric(row, "return")) for row in run.metrics) for run in runs]
    if any(bad):
        columns.append("not finite")
        note += " Not finite: meta-updates whose return is NaN, infinite or missing; plots and means leave them out."
    rows = []
    for run, final, not_finite in zip(runs, finals, bad, strict=True):
        last = run.metrics[-1] if run.metrics else {}
        steps, seconds = metric(last, "env_steps"), metric(last, "seconds")
        speed = steps / seconds if seconds > 0 else math.nan
        row = [run.name, run.algorithm, count(metric(last, "update")), count(steps), duration(seconds)]
        row += [count(speed), number(final, places), count(not_finite)]
        rows.append(row[: len(columns)])
    return Table("Meta-training", columns, rows, note, frozenset({0, 1}))


def settings(runs: Sequence[RunSummary]) -> list[Table]:
    """The configuration: what differs from run to run, what differs from the defaults, and the rest."""
    flat, usual = [flatten(run.config) for run in runs], [flatten(run.defaults) for run in runs]
    keys = list(dict.fromkeys(key for config in flat for key in config))
    values = {key: [config.get(key, NOTHING) for config in flat] for key in keys}
    changed = [
        key
        for key in keys
        if any(
            key in config and config[key] != d.get(key, config[key])
            for config, d in zip(flat, usual, strict=True)
        )
    ]
    keys = changed + [key for key in keys if key not in changed]
    shared = [key for key in keys if len(set(values[key])) == 1]
    # Last what some runs do not have at all: of another learner, for instance.
    differing = sorted((key for key in keys if key not in shared), key=lambda key: NOTHING in values[key])
    tables = []
    if differing:
        columns = ["run", *differing]
        rows = [[run.name, *(values[key][i] for key in differing)] for i, run in enumerate(runs)]
        if len(differing) > len(runs):
            columns, *rows = map(list, zip(columns, *rows, strict=True))
            columns[0] = "setting"
        tables.append(
            Table("What differs between the runs", columns, rows, "", frozenset(range(len(columns))))
        )
    ours = [key for key in shared if key in changed]
    if ours:
        rows = [
            [key, values[key][0], " or ".join(dict.fromkeys(d[key] for d in usual if key in d))]
            for key in ours
        ]
        columns = ["setting", "value", "default"]
        tables.append(Table("What differs from the defaults", columns, rows, "", frozenset(range(3))))
    others = [[key, values[key][0]] for key in shared if key not in ours]
    if others:
        title = "Settings" if len(runs) == 1 else "What the runs share"
        if ours:
            title = "Other settings" if len(runs) == 1 else "What else the runs share"
        tables.append(Table(title, ["setting", "value"], others, "", frozenset({0, 1})))
    return tables


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{"a": {"b": 1}} -> {"a.b": "1"}."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            listed = isinstance(value, (list, tuple))
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if listed else str(value)
    return flat


def metric(row: Mapping[str, Any], name: str) -> float:
    """A value of a row of metrics; NaN where it is missing."""
    value = row.get(name)
    return math.nan if value is None else float(value)


def score_places(evaluations: Sequence[EvaluationSummary]) -> int:
    """Decimal places for IQMs."""
    return decimals([(e.interval[1] - e.interval[0]) / 2 for e in evaluations], [e.iqm for e in evaluations])


def curve_places(evaluations: Sequence[EvaluationSummary]) -> int:
    """Decimal places for the returns of episodes."""
    widths = [(high - low) / 2 for e in evaluations for low, high in zip(e.low, e.high, strict=True)]
    return decimals(widths, [x for e in evaluations for x in e.mean])


def _strong(rows: Sequence[EvaluationSummary]) -> frozenset[int]:
    """The learners, where there is something else to tell them from."""
    learners = frozenset(i for i, e in enumerate(rows) if e.kind == "learner")
    return learners if len(learners) < len(rows) else frozenset()


def _path(e: EvaluationSummary, places: int) -> str:
    points = np.unique(np.linspace(0, len(e.mean) - 1, PATH_POINTS).round().astype(int))
    return " → ".join(number(e.mean[i], places) for i in points)


def _final_return(run: RunSummary) -> float:
    last_tenth = run.metrics[-max(1, len(run.metrics) // 10) :]
    returns = [value for row in last_tenth if math.isfinite(value := metric(row, "return"))]
    return sum(returns) / len(returns) if returns else math.nan
