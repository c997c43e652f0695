"""A user's own supervised tasks, from arrays in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from adaptax.errors import AdaptaxError, short
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.types import Box, Discrete, Spec

Arrays = Sequence[Any]
"""(support_x, support_y, query_x, query_y) of one task, or (x, y) where `shots` says how many of them are the support."""


def from_arrays(
    train: Sequence[Arrays],
    test: Sequence[Arrays] | None = None,
    ood: Sequence[Arrays] | None = None,
    *,
    kind: str = "regression",
    shots: int | None = None,
    name: str = "arrays",
    standardise: bool = True,
    held_out: float = 0.2,
) -> ArrayTasks:
    """A family of supervised tasks from arrays.

    `train`, `test`, `ood`: a list of tasks each. A task is (support_x, support_y, query_x, query_y), or (x, y): its support is
    then a fresh draw of `shots` of its examples each time, and its query set the others. x is float[n] or float[n, ...], y
    float[n] or float[n, d] for regression, whole numbers 0, 1, … for classification; n may differ from task to task.
    Without `test` a share `held_out` of the tasks, drawn at random, is kept for it.
    `standardise` brings inputs and regression labels to mean 0 and deviation 1 over the training tasks; errors are then in
    units of the labels' variance, and `Run.fit` takes and gives the user's own units.

    Raises AdaptaxError where shapes do not agree, a number is NaN or infinite, or a label is no class.
    """
    if kind not in ("regression", "classification"):
        raise AdaptaxError(f"kind must be 'regression' or 'classification', not {kind!r}.")
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        raise AdaptaxError(f"shots must be a whole number from 1, not {short(shots)}.")
    given = {"train": train, "test": test, "ood": ood}
    for split, tasks in given.items():
        if not isinstance(tasks, Sequence) and (split == "train" or tasks is not None):
            raise AdaptaxError(f"The {split} tasks must be a list of tuples of arrays, not {short(tasks)}.")
    train, test, ood = (
        [_checked(task, kind, shots, f"{split} task {i}") for i, task in enumerate(tasks)] if tasks else tasks
        for split, tasks in given.items()
    )
    if test is None:
        if not 0.0 < held_out < 1.0:
            raise AdaptaxError(
                f"held_out must be a share between 0 and 1, not {short(held_out)}; or give `test`."
            )
        if len(train) < 2:
            raise AdaptaxError(
                "from_arrays needs at least two tasks to keep one for testing; give more, or `test`."
            )
        order = np.random.default_rng(0).permutation(len(train))
        kept = min(len(train) - 1, max(1, round(held_out * len(train))))
        test, train = [train[i] for i in order[:kept]], [train[i] for i in order[kept:]]
    splits = {"train": list(train), "test": list(test), "ood": list(ood or [])}
    for split in ("train", "test"):
        if not splits[split]:
            raise AdaptaxError(f"from_arrays was given no {split} tasks.")
    return ArrayTasks(splits, kind, shots, name, standardise)


class ArrayTasks(SupervisedFamily):
    """What `from_arrays` makes. A task is the number of its arrays; rows that fill up to the longest are not valid."""

    reference: str | None = None
    """What names it on the command line: jax:MODULE:NAME where a module holds it; None: nothing does."""

    def __init__(
        self,
        splits: dict[str, list[tuple[np.ndarray, ...]]],
        kind: str,
        shots: int | None,
        name: str,
        standardise: bool,
    ):
        self.kind, self.shots, self.name = kind, shots, name
        listed = [task for tasks in splits.values() for task in tasks]
        counts = [len(splits[split]) for split in ("train", "test", "ood")]
        self._first = dict(zip(("train", "test", "ood"), np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        self._count = dict(zip(("train", "test", "ood"), counts, strict=True))
        shapes = {task[0].shape[1:] for task in listed} | {task[2].shape[1:] for task in listed}
        labels = {task[1].shape[1:] for task in listed} | {task[3].shape[1:] for task in listed}
        if len(shapes) > 1 or len(labels) > 1:
            raise AdaptaxError(
                f"All tasks must have inputs and labels of the same shape, but there are {sorted(shapes)} and {sorted(labels)}."
            )
        training = listed[: self._count["train"]]
        xs = np.concatenate([part for task in training for part in (task[0], task[2])])
        ys = np.concatenate([part for task in training for part in (task[1], task[3])])
        self._x_scale = _scale(xs) if standardise else (np.zeros(xs.shape[1:]), np.ones(xs.shape[1:]))
        scaled_labels = standardise and kind == "regression"
        self._y_scale = _scale(ys) if scaled_labels else (np.zeros(ys.shape[1:]), np.ones(ys.shape[1:]))
        self._classes = 0
        if kind == "classification":
            self._classes = 1 + int(
                max(part.max() for task in listed for part in (task[1], task[3]) if part.size)
            )
        self._support, self._query = (self._padded(listed, i) for i in (0, 2))
        if shots is not None:  # one pool per task, of which each draw takes its support
            self._support_size = shots
            self._query_size = self._support[0].shape[1] - shots
        else:
            self._support_size, self._query_size = self._support[0].shape[1], self._query[0].shape[1]

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {split}" for split, n in self._count.items() if n)
        return f"ArrayTasks('{self.name}', {self.kind}: {counts} tasks)"

    @property
    def fingerprint(self) -> str:
        """Of all arrays as learners see them, and of what they are: another one is another family."""
        digest = hashlib.sha256(f"{self.kind} {self.shots} {list(self._count.items())}".encode())
        for part in (*self._x_scale, *self._y_scale, *self._support, *self._query):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def _padded(
        self, listed: list[tuple[np.ndarray, ...]], i: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x[M, n, ...], y[M, n, ...], valid[M, n]) of all tasks."""
        n = max(1, *(len(task[i]) for task in listed))
        x = np.zeros((len(listed), n, *listed[0][i].shape[1:]), np.float32)
        label_type = np.int32 if self.kind == "classification" else np.float32
        y = np.zeros((len(listed), n, *listed[0][i + 1].shape[1:]), label_type)
        valid = np.zeros((len(listed), n), bool)
        for row, task in enumerate(listed):
            size = len(task[i])
            x[row, :size], y[row, :size] = self.prepared(task[i]), self.prepared_labels(task[i + 1])
            valid[row, :size] = True
        return x, y, valid

    @property
    def spec(self) -> Spec:
        label = self._support[1].shape[2:]
        infinite = (math.inf,) * (label[0] if label else 1)
        labels = (
            Discrete(self._classes)
            if self.kind == "classification"
            else Box(tuple(-x for x in infinite), infinite)
        )
        return Spec(
            self.name, self._support[0].shape[2:], labels, episode_steps=self._support_size,
            support=self._support_size, ood=self._count["ood"] > 0,
        )  # fmt: skip

    def sample(self, key: Key[Array, ""], split: Split) -> Array:
        first, count = self._first[split], self._count[split]
        return jax.random.randint(key, (), first, first + count)

    def all_tasks(self, split: Split) -> Array:
        first = self._first[split]
        return jnp.arange(first, first + self._count[split])

    def examples(self, key: Key[Array, ""], task: Array, split: Split) -> Examples:
        support, query = (
            tuple(jnp.asarray(a)[task] for a in arrays) for arrays in (self._support, self._query)
        )
        if self.shots is None:
            return Examples(support[0], support[1], query[0], query[1], support[2], query[2])
        # A random order in which the rows that only fill up come last.
        order = jnp.argsort(jnp.where(support[2], jax.random.uniform(key, support[2].shape), 2.0))
        x, y, valid = (a[order] for a in support)
        n = self.shots
        return Examples(x[:n], y[:n], x[n:], y[n:], valid[:n], valid[n:])

    def prepared(self, x: np.ndarray) -> np.ndarray:
        mean, deviation = self._x_scale
        return ((np.asarray(x, np.float64) - mean) / deviation).astype(np.float32)

    def prepared_labels(self, y: np.ndarray) -> np.ndarray:
        if self.kind == "classification":
            return np.asarray(y, np.int32)
        mean, deviation = self._y_scale
        y = np.asarray(y, np.float64)
        return ((y.reshape(len(y), mean.size) - mean) / deviation).astype(np.float32)

    def restored(self, y: np.ndarray) -> np.ndarray:
        if self.kind == "classification":
            return y
        mean, deviation = self._y_scale
        return y * deviation + mean


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over the first axis; deviation 1 where it is 0."""
    deviation = values.std(0)
    return values.mean(0), np.where(deviation < 1e-12, 1.0, deviation)


def _checked(task: Any, kind: str, shots: int | None, where: str) -> tuple[np.ndarray, ...]:
    """(support_x, support_y, query_x, query_y) of one task as float64 and int arrays, labels [n, d] for regression."""
    wanted = "(support_x, support_y, query_x, query_y)" if shots is None else "(x, y)"
    if not isinstance(task, (tuple, list)) or len(task) != (4 if shots is None else 2):
        hint = "; or give shots=K with tasks (x, y)" if shots is None else ""
        raise AdaptaxError(f"The {where} must be {wanted}{hint}, not {short(task)}.")
    names = (
        ("support inputs", "support labels", "query inputs", "query labels")
        if shots is None
        else ("inputs", "labels")
    )
    parts = [_array(part, f"The {name} of the {where}") for part, name in zip(task, names, strict=True)]
    for i in range(0, len(parts), 2):
        parts[i] = parts[i][:, None] if parts[i].ndim == 1 else parts[i]
    if shots is not None:
        if shots >= len(parts[0]):
            raise AdaptaxError(
                f"The {where} has {len(parts[0])} examples: too few for shots={shots} and a query beside them."
            )
        if len(parts[0]) != len(parts[1]):
            raise AdaptaxError(f"The {where} has {len(parts[0])} inputs and {len(parts[1])} labels.")
        parts = [*parts, parts[0][:0], parts[1][:0]]
    for i, what in ((0, "support"), (2, "query")):
        x, y = parts[i], parts[i + 1]
        if len(x) != len(y) or (shots is None and len(x) == 0):
            raise AdaptaxError(f"The {what} of the {where} has {len(x)} inputs and {len(y)} labels.")
        if not _finite(x):
            raise AdaptaxError(f"The {what} inputs of the {where} must be finite numbers.")
        if kind == "classification":
            parts[i + 1] = y = as_classes(y)
            if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or (len(y) and y.min() < 0):
                raise AdaptaxError(
                    f"The {what} labels of the {where} must be whole numbers 0, 1, ..., one an input (not one-hot)."
                )
        elif not _finite(y):
            raise AdaptaxError(
                f"The {what} labels of the {where} must be finite numbers (classes: kind='classification', and number them)."
            )
    if kind == "regression":
        for i in (1, 3):
            parts[i] = parts[i].reshape(len(parts[i]), math.prod(parts[i].shape[1:]))
    return parts[0], parts[1], parts[2], parts[3]


def _array(part: Any, what: str) -> np.ndarray:
    """AdaptaxError where it has no shape of its own, or no first axis."""
    try:
        array = np.asarray(part)
    except ValueError:
        raise AdaptaxError(f"{what} have rows of different shapes; make them alike.") from None
    if array.ndim == 0 or array.dtype == object:
        raise AdaptaxError(f"{what} must be an array with a row for each example, not {short(part)[:60]}.")
    return array


def _finite(x: np.ndarray) -> bool:
    real = np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer) or x.dtype == bool
    return bool(real and np.isfinite(x).all())


def as_classes(y: np.ndarray) -> np.ndarray:
    """Labels [n] or [n, 1] as int[n] where they are whole numbers of any type; else as they are."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    whole = y.dtype == bool or (
        np.issubdtype(y.dtype, np.floating) and np.isfinite(y).all() and (y == np.round(y)).all()
    )
    return y.astype(np.int64) if whole else y
