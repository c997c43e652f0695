"""`adaptax reproduce`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from adaptax.checkpoint import write_atomically
from adaptax.cli.output import progress, show
from adaptax.errors import AdaptaxError, near
from adaptax.evaluation.folder import run_summaries
from adaptax.reports.html import write_report
from adaptax.reports.outcome import Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.figures import FIGURES
from adaptax.training.progress import Progress
from adaptax.training.run import circumstances
from adaptax.training.train import Report


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Lists the published figures that this library reproduces, or makes one of them again."""

    name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None
    """Which figure; without a name they are listed."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder for its runs and report; default: runs/NAME, and runs/NAME-paper with the papers' hyperparameters."""
    seeds: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Trainings of each learner, where their number can be chosen; all of them are reported. A learning result takes five."""
    preset: Literal["default", "paper"] = "default"
    """"paper": the papers' hyperparameters, sizes and meta-updates, which take hours (the list says how many)."""

    def execute(self) -> int:
        if self.name is None:
            rows = [
                [
                    name,
                    f.summary,
                    f.published,
                    f"{f.minutes:g} min",
                    f"{f.paper_hours:g} h" if f.paper else "",
                ]
                for name, f in FIGURES.items()
            ]
            show(
                Table(
                    "What can be reproduced",
                    ["name", "", "published", "time on two cores", "--preset paper"],
                    rows,
                    "",
                    frozenset(range(3)),
                )
            )
            return 0
        if self.name not in FIGURES:
            hint = near(self.name, FIGURES)
            raise AdaptaxError(f"There is no figure '{self.name}'; {hint}there are: {', '.join(FIGURES)}.")
        figure, name = FIGURES[self.name], self.name
        make = figure.run
        if self.preset == "paper":
            if figure.paper is None:
                having = ", ".join(other for other, f in FIGURES.items() if f.paper)
                raise AdaptaxError(
                    f"'{name}' has no preset 'paper'; leave --preset out. These have: {having}."
                )
            make, name = figure.paper, f"{name}-paper"
        if self.seeds is not None:
            make = self._with_seeds(self.seeds)
        directory = self.run or Path("runs") / name
        try:
            with progress() as report:
                outcome = make(directory, stopping(report))
        except KeyboardInterrupt:
            print(
                f"Interrupted; what was trained until now is kept in {directory}. The same command goes on from there."
            )
            return 1
        for table in outcome.tables:
            show(table)
        for claim in outcome.claims:
            print(f"{'✓' if claim.holds else '✗'} {claim.sentence}")
        path = directory / "report.html"
        write_atomically(directory / "outcome.json", as_json(name, outcome).encode())
        write_report(path, [run for folder in outcome.folders for run in run_summaries(folder)], outcome)
        print(f"Report: {path}   tables and claims as data: {directory / 'outcome.json'}")
        return 0 if all(claim.holds for claim in outcome.claims) else 1

    def _with_seeds(self, seeds: int) -> Callable[[Path, Report], Outcome]:
        assert self.name is not None
        make = FIGURES[self.name].with_seeds
        if make is None or self.preset == "paper":
            having = ", ".join(name for name, figure in FIGURES.items() if figure.with_seeds)
            raise AdaptaxError(
                f"'{self.name}' has a fixed number of seeds; leave --seeds out. These take it: {having}."
            )
        if seeds < 1:
            raise AdaptaxError(f"seeds must be 1 or more, not {seeds}.")
        return lambda directory, report: make(directory, report, seeds)


def as_json(name: str, outcome: Outcome) -> str:
    """What was found, with what it was found with; the runs' own folders tell the rest."""
    tables = [
        {"title": t.title, "columns": t.columns, "rows": t.rows, "note": t.note} for t in outcome.tables
    ]
    claims, plots = ([dataclasses.asdict(x) for x in part] for part in (outcome.claims, outcome.plots))
    record = {"figure": name, "tables": tables, "claims": claims, "plots": plots, **circumstances()}
    return json.dumps(record, indent=2, ensure_ascii=False, default=lambda x: x.item())  # numpy's numbers


def stopping(report: Report) -> Report:
    """`report`, which also ends the whole reproduction where one of its trainings is interrupted."""

    def report_and_stop(progress: Progress) -> None:
        report(progress)
        if progress.phase == "interrupted":
            raise KeyboardInterrupt

    return report_and_stop
