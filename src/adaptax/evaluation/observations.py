"""What was observed of a run is kept beside its evaluations: DIR/evaluation/KIND/SPLIT.safetensors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from adaptax.checkpoint import read_arrays, save_arrays
from adaptax.errors import AdaptaxError


def keep(directory: Path, kind: str, found: Any) -> None:
    """Keeps a dataclass that has a `split`: its arrays, and its other fields as JSON."""
    arrays, facts = {}, {}
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        (arrays if isinstance(value, np.ndarray) else facts)[field.name] = value
    save_arrays(_folder(directory, kind) / f"{found.split}.safetensors", arrays, {kind: facts})


def kept(directory: Path, kind: str) -> list[dict[str, Any]]:
    """The fields of all that were kept; AdaptaxError where a file is damaged or something else."""
    found = []
    for path in sorted(_folder(directory, kind).glob("*.safetensors")):
        arrays, facts = read_arrays(path)
        if kind not in facts:
            raise AdaptaxError(f"{path} holds no {kind}; evaluate the run again.")
        found.append(arrays | facts[kind])
    return found


def _folder(directory: Path, kind: str) -> Path:
    return directory / "evaluation" / kind
