"""A reservoir on disk, for sequences of tasks whose experience outgrows memory.

It is written between tasks, outside of jitted code, and what is replayed next is drawn from it into a `Reservoir` in memory. A
folder holds a file for each leaf of a row, whose room is taken when it is made, and a page of facts; opening one never runs code.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adaptax.buffers import Reservoir
from adaptax.checkpoint import write_atomically
from adaptax.errors import AdaptaxError

FACTS = "reservoir.json"
BLOCK = 1 << 20
"""Bytes written at once where room is taken."""


class DiskReservoir:
    """`capacity` of all rows ever offered, each with equal probability (Vitter 1985, algorithm R).

    `seen` counts the rows offered, `offers` the calls of `add`.
    """

    def __init__(self, folder: Path, row: Any, capacity: int, seed: int | Sequence[int] = 0):
        """Opens the reservoir in `folder`, or makes one for rows like `row`.

        Raises AdaptaxError where there is no room for it, or what is there is of other rows or of another capacity.
        """
        leaves, self._structure = jax.tree.flatten(row)
        self.folder, self.capacity = folder, capacity
        shapes = [(list(np.shape(x)), str(np.asarray(x).dtype)) for x in leaves]
        self._kind = {"capacity": capacity, "rows": [list(shape) for shape in shapes]}
        self._rng, self.seen, self.offers = np.random.default_rng(seed), 0, 0
        page = folder / FACTS
        if page.exists():
            try:
                facts = json.loads(page.read_text())
                kind, self.seen, self.offers = facts["kind"], facts["seen"], facts["offers"]
                self._rng.bit_generator.state = facts["draws"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise self._damaged(error) from None
            if kind != self._kind:
                raise AdaptaxError(
                    f"{folder} holds a store of other rows or of another capacity; keep this one in another folder."
                )
        else:
            self._take_room(shapes)
            self._keep_facts()
        self._leaves = [self._opened(i, *kind) for i, kind in enumerate(shapes)]

    @property
    def size(self) -> int:
        """Rows that it holds."""
        return min(self.seen, self.capacity)

    def add(self, rows: Any, valid: np.ndarray) -> None:
        """Offers the valid ones of rows [n, ...], in their order."""
        kept = np.flatnonzero(np.asarray(valid))
        i = self.seen + np.arange(len(kept))
        at = np.where(i < self.capacity, i, self._rng.integers(0, i + 1))
        taken = at < self.capacity
        for leaf, new in zip(self._leaves, jax.tree.leaves(rows), strict=True):
            leaf[at[taken]] = np.asarray(new)[kept[taken]]  # of rows that take one place, the last stays
            leaf.flush()
        # A write that stopped short of this is made again to the same places.
        self.seen, self.offers = self.seen + len(kept), self.offers + 1
        self._keep_facts()

    def drawn(self, capacity: int, seed: int | Sequence[int]) -> Reservoir:
        """So many of its rows, uniformly without replacement, in memory: full as far as there are enough."""
        number = min(capacity, self.size)
        chosen = np.sort(np.random.default_rng(seed).choice(self.size, number, replace=False, shuffle=False))

        def room(leaf: np.ndarray) -> jax.Array:
            held = np.zeros((capacity, *leaf.shape[1:]), leaf.dtype)
            held[: len(chosen)] = leaf[chosen]
            return jnp.asarray(held)

        rows = jax.tree.unflatten(self._structure, [room(leaf) for leaf in self._leaves])
        return Reservoir(rows, jnp.int32(number), jnp.int32(number))

    def _opened(self, i: int, shape: list[int], dtype: str) -> np.memmap:
        file, needed = self._file(i), self._bytes(shape, dtype)
        if not file.is_file() or file.stat().st_size != needed:  # which mapping would mend with zeros
            raise self._damaged(f"{file.name} has not its {needed:,} bytes")
        return np.memmap(file, np.dtype(dtype), "r+", shape=(self.capacity, *shape))

    def _bytes(self, shape: list[int], dtype: str) -> int:
        return self.capacity * math.prod(shape) * np.dtype(dtype).itemsize

    def _damaged(self, error: object) -> AdaptaxError:
        return AdaptaxError(
            f"The store in {self.folder} is damaged ({error}); put a copy of it back, or begin anew in another folder."
        )

    def _take_room(self, shapes: list[tuple[list[int], str]]) -> None:
        """All of it now: a write to a mapped file on a full disk would end the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for i, (shape, dtype) in enumerate(shapes):
                left = self._bytes(shape, dtype)
                with open(self._file(i), "wb") as file:
                    while left > 0:
                        left -= file.write(bytes(min(left, BLOCK)))
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise AdaptaxError(
                f"There is no room for a store of {self.capacity:,} rows in {self.folder} ({error.strerror}); make room, keep it "
                "in another folder, or lower its capacity."
            ) from None

    def _keep_facts(self) -> None:
        facts = {
            "kind": self._kind,
            "seen": self.seen,
            "offers": self.offers,
            "draws": self._rng.bit_generator.state,
        }
        write_atomically(self.folder / FACTS, json.dumps(facts).encode())

    def _file(self, i: int) -> Path:
        return self.folder / f"rows-{i}.bin"


@dataclasses.dataclass(frozen=True)
class RunStore:
    """A reservoir on disk that belongs to a run, and is offered what each meta-update has met, once."""

    row: Any
    """What its rows are like."""
    capacity: int
    in_memory: int
    """Rows that are drawn from it at a time."""

    def after(
        self, folder: Path, updates: int, rows: Any, valid: np.ndarray, seed: Sequence[int]
    ) -> Reservoir:
        """What is replayed after so many meta-updates, of which the last has met the valid ones of rows [n, ...].

        The same when it is asked again, after an interrupt. `seed` is the run's.
        """
        if updates == 1:  # what is there is of a run that never got so far
            shutil.rmtree(folder, ignore_errors=True)
        disk = DiskReservoir(folder, self.row, self.capacity, seed)
        if disk.offers < updates:
            disk.add(rows, valid)
        return disk.drawn(self.in_memory, [*seed, updates])

    def check(self, folder: Path, updates: int) -> None:
        """AdaptaxError where what is in `folder` does not belong to a run with so many meta-updates."""
        if updates == 0:
            return
        if not folder.exists():
            raise AdaptaxError(f"{folder}, the store that belongs to this run, is missing; put it back.")
        offers = DiskReservoir(folder, self.row, self.capacity).offers
        if offers not in (updates, updates + 1):
            raise AdaptaxError(
                f"{folder} is of another run: it has met {offers} meta-updates, and this run {updates}; put its own store back."
            )
