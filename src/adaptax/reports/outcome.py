"""What a reproduction brings back, for the terminal, the page and the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from adaptax.reports.tables import Table


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
class Scatter:
    """Points of two objectives under a title: y is to be high and x low."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    y: list[float]
    front: list[int]
    """Which points no other one dominates, from left to right."""
    names: dict[int, str]
    """Of points to be named."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a reproduction found."""

    tables: list[Table]
    claims: list[Claim]
    folders: list[Path]
    """The runs that it trained, each with its evaluations."""
    plots: Sequence[Plot | Scatter] = dataclasses.field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        """Both, one after the other."""
        return Outcome(
            self.tables + other.tables, self.claims + other.claims, self.folders + other.folders, [*self.plots, *other.plots]
        )  # fmt: skip
