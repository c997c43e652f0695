"""What a search has tried, as it stands in its folder: a line of trials.jsonl for each trial, added when it ends."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from adaptax.errors import AdaptaxError
from adaptax.search.space import Genes, identity

COSTS = {"parameters": "parameters", "adapt-ms": "adapt_ms", "act-us": "act_us"}
"""Second objectives, and the field of a trial that holds each."""


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A candidate to be trained, for so many meta-updates in all: on from where it was left, if it was trained before."""

    genes: Genes
    updates: int


@dataclasses.dataclass(frozen=True)
class Trial:
    """What came of a proposal."""

    number: int
    genes: Genes
    updates: int
    """Meta-updates of the candidate in all."""
    score: float = math.nan
    """On validation tasks; NaN: the trial failed."""
    parameters: int = 0
    """Numbers that meta-training learns."""
    adapt_ms: float = math.nan
    """Milliseconds of one adaptation to a task, compiled."""
    act_us: float = math.nan
    """Microseconds of one action, or prediction, compiled."""
    env_steps: int = 0
    """Of meta-training, in all."""
    seconds: float = 0.0
    """Of this trial, compilation and evaluation included."""
    error: str = ""
    """What went wrong; empty: nothing."""

    @property
    def identity(self) -> str:
        return identity(self.genes)

    def cost(self, name: str) -> float:
        """One of `COSTS`; NaN where the trial failed."""
        return math.nan if self.error else float(getattr(self, COSTS[name]))


def read_trials(directory: Path) -> dict[int, Trial]:
    """The trials in a folder by number; a last line that a crash cut off is removed."""
    path, trials, whole = directory / "trials.jsonl", {}, 0
    if not path.is_file():
        return {}
    content = path.read_bytes()
    for line in content.splitlines(keepends=True):
        try:
            record = json.loads(line)
            trial = Trial(**(record | {k: math.nan for k, v in record.items() if v is None}))
        except (ValueError, TypeError, AttributeError):
            break
        trials[trial.number], whole = trial, whole + len(line)
    if content[whole:].count(b"\n") > 1:
        raise AdaptaxError(
            f"{path} was changed by hand: line {len(trials) + 1} is no trial; restore or delete it."
        )
    if whole < len(content):
        with open(path, "rb+") as file:
            file.truncate(whole)
    return trials


def append_trial(directory: Path, trial: Trial) -> None:
    """Adds a line, flushed to the disk."""
    record: dict[str, Any] = dataclasses.asdict(trial)
    record = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}
    try:
        with open(directory / "trials.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise AdaptaxError(
            f"Could not write {directory / 'trials.jsonl'}: {error.strerror}; make room, then run the same command again."
        ) from None
