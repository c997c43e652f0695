"""What a reproduction is and what it brings back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from adaptax.training.train import Report


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under a title."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence that the figures bear out, or do not."""

    sentence: str
    holds: bool


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve of a plot: means and their 95% intervals at some points."""

    name: str
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclasses.dataclass(frozen=True)
class Plot:
    """Curves under a title."""

    title: str
    x_label: str
    y_label: str
    lines: list[Line]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a reproduction found."""

    tables: list[Table]
    claims: list[Claim]
    folders: list[Path]
    """The runs that it trained, each with its evaluations."""
    plots: list[Plot] = dataclasses.field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        """Both, one after the other."""
        return Outcome(
            self.tables + other.tables, self.claims + other.claims, self.folders + other.folders, self.plots + other.plots
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published figure, or a claim of this library, with the code that makes it again."""

    summary: str
    """One line."""
    published: str
    """What the paper, or this library, states."""
    minutes: int
    """About how long it takes on two CPU cores."""
    run: Callable[[Path, Report], Outcome]
    """Into a folder, reporting the progress of each training."""
    paper: Callable[[Path, Report], Outcome] | None = None
    """The same with the papers' hyperparameters."""
    paper_hours: float = 0.0
    """About how long that takes on two CPU cores."""
    with_seeds: Callable[[Path, Report, int], Outcome] | None = None
    """The same with so many trainings of each learner, where one is the rule because it takes long."""
