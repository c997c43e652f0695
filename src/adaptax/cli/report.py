"""`adaptax report`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from adaptax.cli.output import waiting
from adaptax.cli.runs import find
from adaptax.errors import AdaptaxError
from adaptax.evaluation.answers import keep_answers
from adaptax.evaluation.beliefs import keep_beliefs
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.folder import run_summaries, save_evaluations, saved_evaluations
from adaptax.reports.html import write_report


@dataclasses.dataclass(frozen=True)
class Report:
    """Writes report.html into each folder: learning curve, adaptation curves, table, settings, in one file."""

    directories: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR")]
    """What `adaptax train` wrote. Unseen tasks are evaluated where that was not done yet."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """One report of all of them together, here."""

    def execute(self) -> None:
        if not self.directories:
            raise AdaptaxError("Name at least one folder that `adaptax train` wrote.")
        for directory in self.directories:
            if not saved_evaluations(directory):
                with waiting(f"meeting unseen tasks with {directory} ..."):
                    runs = find(str(directory)).runs
                    save_evaluations(directory, [evaluate(runs)])
                    keep_beliefs(directory, runs[0])
                    keep_answers(directory, runs[0])
        groups = {directory: run_summaries(directory) for directory in self.directories}
        if self.out is not None:
            groups = {self.out.parent: [run for group in groups.values() for run in group]}
        for directory, group in groups.items():
            path = self.out or directory / "report.html"
            write_report(path, group)
            print(f"Report: {path}")
