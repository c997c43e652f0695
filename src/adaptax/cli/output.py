"""How commands show things: tables, one JSON value, live progress."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.status import Status
from rich.table import Column

from adaptax.reports.tables import Table, console
from adaptax.training.progress import PlainProgress, Progress, describe
from adaptax.training.train import Report

PIPED_WIDTH = 140
"""Columns of a table that is written into a file or a pipe."""


def show(*tables: Table) -> None:
    """Prints tables to standard output."""
    out = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    for table in tables:
        out.print(console(table))


def show_json(value: Any) -> None:
    """Prints one JSON value to standard output; numbers that are not finite become null, as JSON knows none."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def waiting(text: str) -> Status:
    """Shows on a terminal what is being waited for, while it is entered."""
    return Console(stderr=True).status(text)


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """Shows meta-training on standard error: a line a run that lives on a terminal, else a plain line every ten seconds."""
    err = Console(stderr=True)
    if not err.is_terminal:
        yield PlainProgress(every_seconds=10.0)
        return
    text = TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))
    with Bars(SpinnerColumn(), text, BarColumn(bar_width=16), console=err) as bars:
        yield _Live(bars)


class _Live:
    def __init__(self, bars: Bars):
        self._bars = bars
        self._task: TaskID | None = None

    def __call__(self, progress: Progress) -> None:
        if self._task is None:
            self._task = self._bars.add_task("", total=None)
        self._bars.update(
            self._task,
            description=describe(progress),
            completed=progress.updates,
            total=None if progress.phase == "compiling" else max(progress.target, 1),
        )
        if progress.phase in ("done", "interrupted"):
            self._bars.stop_task(self._task)
            self._task = None
