"""What a reproduction is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from adaptax.reports.outcome import Outcome
from adaptax.training.train import Report


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
    """The same with so many trainings of each learner; None: their number is fixed."""
