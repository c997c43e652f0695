"""The contract of a supervised task family, promise by promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adaptax.cli.checks import DRAWS, Checks, as_bytes, compare_splits, require
from adaptax.tasks.base import SPLITS, Examples, Split, SupervisedFamily
from adaptax.types import Box, Discrete, Spec


class SupervisedChecks(Checks):
    def __init__(self, family: SupervisedFamily):
        self.family = family
        self.spec = family.spec
        self.splits: list[Split] = [split for split in SPLITS if split != "ood" or family.spec.ood]
        self.key = jax.random.key(0)

    def items(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("spec is a Spec that says how many examples a support set holds", self.declared),
            ("sample(key, split) can be jitted and mapped", self.sample_maps),
            ("tasks differ, and test tasks are no training tasks", self.different_tasks),
            ("examples(key, task, split) gives what the spec says", self.examples_fit),
            (
                "the same task gives other examples for another key, or says that it has no more",
                self.examples_vary,
            ),
        ]

    def declared(self) -> str:
        require(isinstance(self.spec, Spec), "The property spec must return an adaptax.types.Spec.")
        require(self.spec.supervised, "The Spec must say how large a support set is: Spec(..., support=10).")
        labels = self.spec.action
        bounded = isinstance(labels, Box) and any(labels.bounded)
        require(
            isinstance(labels, Discrete) or (isinstance(labels, Box) and not bounded),
            "The Spec's action is the space of labels: Discrete(classes), or a Box without bounds for regression.",
        )
        return f"{self.spec.name}: inputs {self.spec.observation}, {self.spec.support} examples, {self.spec.measure}"

    def tasks(self, split: Split) -> Any:
        keys = jax.random.split(self.key, DRAWS)
        return jax.jit(
            jax.vmap(lambda key: self.family.sample(jax.random.fold_in(key, SPLITS.index(split)), split))
        )(keys)

    def sample_maps(self) -> str:
        for split in self.splits:
            self.tasks(split)
        return f"splits {', '.join(self.splits)}"

    def different_tasks(self) -> str:
        return compare_splits(
            {split: as_bytes(self.tasks(split)) for split in self.splits}, self.spec.shared_tasks
        )

    def examples_fit(self) -> str:
        sizes = []
        for split in self.splits:
            found = self.drawn(self.key, split)
            require(
                isinstance(found, Examples),
                f"examples(..., '{split}') must return an adaptax.tasks.Examples.",
            )
            for part in ("support", "query"):
                x, y = (np.asarray(getattr(found, f"{part}_{name}")) for name in "xy")
                require(
                    x.shape[1:] == self.spec.observation,
                    f"{part}_x of '{split}' has inputs of shape {x.shape[1:]}, and the Spec says {self.spec.observation}.",
                )
                require(len(x) == len(y), f"{part}_x of '{split}' has {len(x)} rows and {part}_y {len(y)}.")
                require(
                    np.isfinite(x).all() and np.isfinite(y).all(),
                    f"The {part} of '{split}' holds a NaN or an infinity.",
                )
                self.labels_fit(y, f"{part}_y of '{split}'")
            require(
                len(found.support_x) == self.spec.support,
                f"The support of '{split}' has {len(found.support_x)} examples, and the Spec says {self.spec.support}.",
            )
            sizes.append(f"{split} {len(found.support_x)} + {len(found.query_x)}")
        return ", ".join(sizes)

    def labels_fit(self, y: np.ndarray, where: str) -> None:
        labels = self.spec.action
        if isinstance(labels, Discrete):
            whole = np.issubdtype(y.dtype, np.integer) and y.ndim == 1 and ((y >= 0) & (y < labels.n)).all()
            require(whole, f"{where} must be whole numbers from 0 to {labels.n - 1}, int32[n].")
        else:
            require(
                y.ndim == 2 and y.shape[1] == labels.size,
                f"{where} must be float32[n, {labels.size}], not {y.shape}.",
            )

    def examples_vary(self) -> str:
        a, b = (np.asarray(self.drawn(jax.random.key(i), "train").support_x) for i in (1, 2))
        return (
            "drawn anew each time"
            if not np.array_equal(a, b)
            else "a fixed set: training sees these examples only"
        )

    def drawn(self, key: Any, split: Split) -> Examples:
        task = jax.tree.map(lambda x: jnp.asarray(x)[0], self.tasks(split))
        return jax.jit(self.family.examples, static_argnums=2)(key, task, split)
