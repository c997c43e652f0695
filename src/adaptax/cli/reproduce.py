"""`adaptax reproduce`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from adaptax.cli.output import progress, show
from adaptax.errors import AdaptaxError, near
from adaptax.evaluation.folder import run_summaries
from adaptax.reports.html import write_report
from adaptax.reports.tables import Table
from adaptax.reproduction.figures import FIGURES
from adaptax.training.progress import Progress
from adaptax.training.train import Report


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Lists the published figures that this library reproduces, or makes one of them again."""

    name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None
    """Which figure; without a name they are listed."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder for its runs and report; default: runs/NAME, and runs/NAME-paper with the papers' hyperparameters."""
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
            show(Table(table.title, table.header, table.rows, table.note))
        for claim in outcome.claims:
            print(f"{'✓' if claim.holds else '✗'} {claim.sentence}")
        path = directory / "report.html"
        write_report(path, [run for folder in outcome.folders for run in run_summaries(folder)])
        print(f"Report: {path}")
        return 0 if all(claim.holds for claim in outcome.claims) else 1


def stopping(report: Report) -> Report:
    """`report`, which also ends the whole reproduction where one of its trainings is interrupted."""

    def report_and_stop(progress: Progress) -> None:
        report(progress)
        if progress.phase == "interrupted":
            raise KeyboardInterrupt

    return report_and_stop
