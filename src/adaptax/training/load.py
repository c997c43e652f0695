"""Trained learners by name or folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from adaptax.errors import AdaptaxError, near
from adaptax.tasks.base import AnyFamily
from adaptax.training.run import Run, load_run


def load(source: Path | str, family: AnyFamily | None = None) -> Run:
    """The learner in a run's folder, or one that ships with the library: "pretrained:NAME".

    `family` replaces the recorded one, for families that were defined in a script. Loading never runs code.
    """
    if isinstance(source, str) and source.startswith("pretrained:"):
        return load_run(pretrained_folder(source.removeprefix("pretrained:")), family)[0]
    return load_run(source, family)[0]


def pretrained_folder(name: str) -> Path:
    """Where a learner that ships with the library lies."""
    shipped = resources.files("adaptax") / "pretrained"
    names = sorted(p.name for p in shipped.iterdir() if p.is_dir()) if shipped.is_dir() else []
    if name not in names:
        there = ", ".join(names) or "none"
        raise AdaptaxError(f"There is no pretrained learner '{name}'; {near(name, names)}there are: {there}.")
    return Path(str(shipped / name))
