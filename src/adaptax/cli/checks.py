"""What all checks of task families share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from adaptax.errors import AdaptaxError

DRAWS = 50
"""Tasks drawn from each split."""


class Checks:
    """The promises that a family must keep."""

    def items(self) -> list[tuple[str, Callable[[], str]]]:
        """Each promise, and what checks it: it returns what was found, or raises."""
        raise NotImplementedError


def as_bytes(tasks: Any) -> list[bytes]:
    """Each of the tasks [DRAWS], a pytree, as bytes."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tasks)]
    return [b"|".join(leaf[i].tobytes() for leaf in leaves) for i in range(DRAWS)]


def compare_splits(drawn: dict[str, list[bytes]], shared_tasks: bool) -> str:
    """Of tasks as bytes, by split: they vary, and no test task is a training task."""
    for split, tasks in drawn.items():
        if len(set(tasks)) == 1 and not shared_tasks:
            raise AdaptaxError(
                f"sample(..., '{split}') gave the same task {len(tasks)} times; draw tasks that differ, with the random "
                "numbers that it is given."
            )
    common = set(drawn["train"]) & set(drawn["test"])
    if common and not shared_tasks:
        raise AdaptaxError(
            f"{len(common)} of {len(set(drawn['test']))} test tasks are training tasks too; draw them from different ones, or "
            "say so: shared_tasks=True in a JAX family's Spec, shared_tasks = True in a class for Gymnasium."
        )
    counts = ", ".join(f"{len(set(tasks))} {split}" for split, tasks in drawn.items())
    return f"{counts} tasks in {DRAWS} draws" + (", shared as declared" if shared_tasks else "")


def require(holds: Any, otherwise: str) -> None:
    """AdaptaxError with the sentence where something does not hold."""
    if not holds:
        raise AdaptaxError(otherwise)
