"""Experience that is kept over meta-updates: a ring buffer of rows, on the device, in a fixed amount of memory.

It is written for ONE buffer; a buffer for each task is a stack of them, made and written to by `jax.vmap`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from adaptax import trees


class RingBuffer(eqx.Module):
    """The newest `capacity` rows of any pytree; a new one takes the place of the oldest."""

    rows: Any
    """Leaves [capacity, ...]; the first `size` count."""
    size: Int[Array, "*tasks"]
    next: Int[Array, "*tasks"]
    """Where the next row goes."""

    @staticmethod
    def of(row: Any, capacity: int) -> RingBuffer:
        """An empty buffer for rows like `row`."""
        rows = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.result_type(x)), row)
        zero = jnp.zeros((), jnp.int32)
        return RingBuffer(rows, zero, zero)

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.rows)[0].shape[self.size.ndim]

    def add(self, rows: Any, valid: Bool[Array, " n"]) -> RingBuffer:
        """With the valid ones of rows [n, ...] added, in their order. Of more than `capacity` the last are kept."""
        number, capacity = valid.sum().astype(jnp.int32), self.capacity
        rank = jnp.cumsum(valid) - 1
        kept = valid & (rank >= number - capacity)
        # An index beyond the end, which is dropped, for rows that are not written.
        at = jnp.where(kept, (self.next + rank) % capacity, capacity)
        written = jax.tree.map(lambda old, new: old.at[at].set(new, mode="drop"), self.rows, rows)
        return RingBuffer(written, jnp.minimum(self.size + number, capacity), (self.next + number) % capacity)

    def draw(self, key: Key[Array, ""], n: int) -> Int[Array, " n"]:
        """Places of n rows, drawn uniformly with replacement; of an empty buffer, place 0."""
        return jax.random.randint(key, (n,), 0, jnp.maximum(self.size, 1))

    def sample(self, key: Key[Array, ""], n: int) -> Any:
        """n rows, drawn uniformly with replacement."""
        return trees.index(self.rows, self.draw(key, n))


def sample_of(stacked: RingBuffer, i: Int[Array, ""], key: Key[Array, ""], n: int) -> Any:
    """What buffer i of a stack of them gives as `sample`; only the rows drawn are read, not the buffer."""
    places = RingBuffer(stacked.rows, stacked.size[i], stacked.next[i]).draw(key, n)
    return jax.tree.map(lambda leaf: leaf[i, places], stacked.rows)
