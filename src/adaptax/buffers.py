"""Experience that is kept over meta-updates, on the device, in a fixed amount of memory: a ring buffer keeps the newest rows, a
reservoir as many of the first as of the last.

They are written for ONE buffer; a buffer for each task is a stack of them, made and written to by `jax.vmap`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from adaptax import trees


class Buffer(eqx.Module):
    """Rows of any pytree, of which the first `size` count."""

    rows: Any
    """Leaves [capacity, ...]."""
    size: Int[Array, "*tasks"]

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.rows)[0].shape[self.size.ndim]

    def draw(self, key: Key[Array, ""], n: int) -> Int[Array, " n"]:
        """Places of n rows, drawn uniformly with replacement; of an empty buffer, place 0."""
        return jax.random.randint(key, (n,), 0, jnp.maximum(self.size, 1))

    def sample(self, key: Key[Array, ""], n: int) -> Any:
        """n rows, drawn uniformly with replacement."""
        return trees.index(self.rows, self.draw(key, n))


class RingBuffer(Buffer):
    """The newest `capacity` rows; a new one takes the place of the oldest."""

    next: Int[Array, "*tasks"]
    """Where the next row goes."""

    @staticmethod
    def of(row: Any, capacity: int) -> RingBuffer:
        """An empty buffer for rows like `row`."""
        zero = jnp.zeros((), jnp.int32)
        return RingBuffer(_room(row, capacity), zero, zero)

    def add(self, rows: Any, valid: Bool[Array, " n"]) -> RingBuffer:
        """With the valid ones of rows [n, ...] added, in their order. Of more than `capacity` the last are kept."""
        number, capacity = valid.sum().astype(jnp.int32), self.capacity
        rank = jnp.cumsum(valid) - 1
        kept = valid & (rank >= number - capacity)
        # An index beyond the end, which is dropped, for rows that are not written.
        at = jnp.where(kept, (self.next + rank) % capacity, capacity)
        written = jax.tree.map(lambda old, new: old.at[at].set(new, mode="drop"), self.rows, rows)
        return RingBuffer(written, jnp.minimum(self.size + number, capacity), (self.next + number) % capacity)


class Reservoir(Buffer):
    """`capacity` of all rows ever offered, each with equal probability, however many there will be (Vitter 1985, algorithm R)."""

    seen: Int[Array, "*tasks"]
    """Rows offered until now."""

    @staticmethod
    def of(row: Any, capacity: int) -> Reservoir:
        """An empty reservoir for rows like `row`."""
        zero = jnp.zeros((), jnp.int32)
        return Reservoir(_room(row, capacity), zero, zero)

    def add(self, rows: Any, valid: Bool[Array, " n"], key: Key[Array, ""]) -> Reservoir:
        """With the valid ones of rows [n, ...] offered, in their order.

        Row i, from 0, takes place i as long as there is room; then a place drawn from 0..i, if there is such a place.
        """
        capacity, order = self.capacity, jnp.arange(valid.shape[0])
        i = self.seen + jnp.cumsum(valid) - 1
        at = jnp.where(i < capacity, i, jax.random.randint(key, i.shape, 0, jnp.maximum(i + 1, 1)))
        at = jnp.where(valid, jnp.minimum(at, capacity), capacity)
        # Of several rows of this call that take one place, the last stays.
        last = jnp.full(capacity + 1, -1).at[at].max(order)[at] == order
        at = jnp.where(last, at, capacity)
        written = jax.tree.map(lambda old, new: old.at[at].set(new, mode="drop"), self.rows, rows)
        seen = self.seen + valid.sum().astype(jnp.int32)
        return Reservoir(written, jnp.minimum(seen, capacity), seen)


def _room(row: Any, capacity: int) -> Any:
    """Leaves [capacity, ...] of zeros."""
    return jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), row)


def sample_of(stacked: RingBuffer, i: Int[Array, ""], key: Key[Array, ""], n: int) -> Any:
    """What buffer i of a stack of them gives as `sample`; only the rows drawn are read, not the buffer."""
    places = RingBuffer(stacked.rows, stacked.size[i], stacked.next[i]).draw(key, n)
    return jax.tree.map(lambda leaf: leaf[i, places], stacked.rows)
