"""The runs that a word on the command line names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from adaptax.errors import AdaptaxError
from adaptax.training.load import load
from adaptax.training.run import Run, load_run, run_folders

PRETRAINED = "pretrained:"


@dataclasses.dataclass(frozen=True)
class Learner:
    """A trained learner: one run, or several that differ in their seed alone."""

    name: str
    runs: list[Run]
    directory: Path | None
    """Where results about it are kept; None for one that ships with the library."""


def find(source: str) -> Learner:
    """The learner in a folder that `adaptax train` wrote, or pretrained:NAME."""
    if source.startswith(PRETRAINED):
        return Learner(source.removeprefix(PRETRAINED), [load(source)], None)
    directory = Path(source)
    runs = [load_run(folder)[0] for folder in run_folders(directory)]
    if any((run.config, run.family_record) != (runs[0].config, runs[0].family_record) for run in runs):
        raise AdaptaxError(f"The runs in {directory} differ in more than their seed; name one of them.")
    return Learner(directory.absolute().name, runs, directory)
