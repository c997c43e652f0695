"""Blocks that look back over a stream: temporal convolutions and attention (Mishra et al. 2018, SNAIL).

Each block has two paths with the same numbers (law L5). A *step* takes one row and a cache of static size, from which it reads
what it needs of the rows before. An *unroll* takes T rows at once. Row number p of a stream, counted from 0, has slot p mod C in a
ring of C slots: the newest C rows are remembered, and in both paths older ones are forgotten.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.networks.attention import attend, attend_and_self
from adaptax.networks.layers import Dense


class TemporalConvolution(eqx.Module):
    """A TC block: n = ⌈log₂ T⌉ dense blocks with dilations d = 1, 2, 4, ..., 2ⁿ⁻¹, so that 2ⁿ ≥ T rows are seen (§3).

        dense block:   f, g = A x_{t−d} + B x_t + b        y_t = [x_t, tanh(f) ⊙ σ(g)]

    Before the first row stand zeros. The cache holds A x of the newest d rows for each block, not x: it is smaller, the blocks'
    inputs growing wider from one to the next. That of the block with dilation d takes slots d − 1 to 2d − 2.
    """

    weights: tuple[Float[Array, "outputs inputs"], ...]
    """A above B, [4 filters, inputs], for each dense block."""
    biases: Float[Array, "blocks outputs"]
    filters: int = eqx.field(static=True)

    def __init__(self, n_in: int, filters: int, rows: int, key: Key[Array, ""]):
        """`rows` is T; `filters` channels are added by each of the blocks."""
        blocks = max(1, math.ceil(math.log2(rows)))
        orthogonal = jax.nn.initializers.orthogonal(1.0)
        widths = [n_in + i * filters for i in range(blocks)]
        self.weights = tuple(
            jnp.concatenate([orthogonal(k, (2 * filters, w)) for k in jax.random.split(one)])
            for w, one in zip(widths, jax.random.split(key, blocks), strict=True)
        )
        self.biases = jnp.zeros((blocks, 2 * filters))
        self.filters = filters

    @property
    def n_out(self) -> int:
        return self.weights[-1].shape[1] + self.filters

    def empty(self) -> Float[Array, "slots outputs"]:
        """The cache before the first row."""
        return jnp.zeros((2 ** len(self.weights) - 1, 2 * self.filters))

    def step(
        self,
        cache: Float[Array, "slots outputs"],
        position: Int[Array, ""],
        x: Float[Array, " inputs"],
        valid: Bool[Array, ""],
    ) -> tuple[Float[Array, " n_out"], Float[Array, "slots outputs"]]:
        """Row number `position`; the cache changes only where it is `valid`."""
        dilations = 2 ** jnp.arange(len(self.weights))
        slots = dilations - 1 + position % dilations
        before = cache[slots]
        ahead = []
        for weight, bias, past in zip(self.weights, self.biases, before, strict=True):
            for_later, now = jnp.split(x @ weight.T, 2)
            x = jnp.concatenate([x, _gated(past + now + bias)])
            ahead.append(for_later)
        # A slot is read before it is written, and nothing else is: the ring can stay where it is in memory.
        return x, cache.at[slots].set(jnp.where(valid, jnp.stack(ahead), before))

    def unroll(
        self,
        cache: Float[Array, "slots outputs"] | None,
        position: Int[Array, ""],
        xs: Float[Array, "T inputs"],
        count: Int[Array, ""],
    ) -> tuple[Float[Array, "T n_out"], Float[Array, "slots outputs"]]:
        """Rows from number `position` on, of which the first `count` are remembered; of a stream's first rows without a cache."""
        rows, rings = xs.shape[0], []
        cache = self.empty() if cache is None else cache
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            dilation = 2**i
            ring = cache[dilation - 1 : 2 * dilation - 1]
            for_later, now = jnp.split(xs @ weight.T, 2, axis=-1)
            past, ring = _through_ring(ring, position, for_later, count)
            xs = jnp.concatenate([xs, _gated(past[:rows] + now + bias)], axis=-1)
            rings.append(ring)
        return xs, jnp.concatenate(rings)


class Attention(eqx.Module):
    """An attention block: each row reads the values of the newest C rows, itself among them, by how well their keys match (§3).

    y_t = [x_t, Σ_s softmax_s(q_t · k_s / √d) v_s],   t − C < s ≤ t      (Vaswani et al. 2017, one head, no positions)
    """

    projection: Dense
    """To query, key and value, one after the other."""
    keys: int = eqx.field(static=True)
    values: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    def __init__(self, n_in: int, keys: int, values: int, rows: int, key: Key[Array, ""]):
        """`rows` is C."""
        self.projection = Dense(n_in, 2 * keys + values, 1.0, key)
        self.keys, self.values, self.capacity = keys, values, rows

    @property
    def n_out(self) -> int:
        return self.projection.weight.shape[1] + self.values

    def empty(self) -> tuple[Float[Array, "slots keys"], Float[Array, "slots values"]]:
        """The cache before the first row."""
        return jnp.zeros((self.capacity, self.keys)), jnp.zeros((self.capacity, self.values))

    def step(
        self,
        cache: tuple[Float[Array, "slots keys"], Float[Array, "slots values"]],
        position: Int[Array, ""],
        x: Float[Array, " inputs"],
        valid: Bool[Array, ""],
    ) -> tuple[Float[Array, " n_out"], tuple[Float[Array, "slots keys"], Float[Array, "slots values"]]]:
        """Row number `position`; the cache changes only where it is `valid`."""
        (keys, values), slot = cache, position % self.capacity
        query, key, value = self._split(self.projection(x))
        # The slot to be written holds a row that is now too old, or none.
        slots = jnp.arange(self.capacity)
        seen = (slots < position) & (slots != slot)
        read = attend_and_self(query[None], keys[None], values[None], seen, key[None], value[None])[0]
        # All of a ring is read before one slot of it is written, so that it can stay where it is in memory.
        keys = keys.at[slot].set(jnp.where(valid, key, keys[slot]))
        values = values.at[slot].set(jnp.where(valid, value, values[slot]))
        return jnp.concatenate([x, read]), (keys, values)

    def unroll(
        self,
        cache: tuple[Float[Array, "slots keys"], Float[Array, "slots values"]] | None,
        position: Int[Array, ""],
        xs: Float[Array, "T inputs"],
        count: Int[Array, ""],
    ) -> tuple[Float[Array, "T n_out"], tuple[Float[Array, "slots keys"], Float[Array, "slots values"]]]:
        """Rows from number `position` on, of which the first `count` are remembered; of a stream's first rows without a cache."""
        queries, *new = self._split(jax.vmap(self.projection)(xs))
        (keys, key_ring), (values, value_ring) = (
            _through_ring(ring, position, rows, count)
            for ring, rows in zip(cache or self.empty(), new, strict=True)
        )
        # Column j is row number position − C + j of the stream.
        t, j = jnp.arange(xs.shape[0])[:, None], jnp.arange(self.capacity + xs.shape[0])
        seen = (t < j) & (j <= t + self.capacity) & (j >= self.capacity - position)
        if cache is None:
            keys, values, seen = keys[self.capacity :], values[self.capacity :], seen[:, self.capacity :]
        read = attend(queries[None], keys[None], values[None], seen)[0]
        return jnp.concatenate([xs, read], axis=-1), (key_ring, value_ring)

    def _split(self, projected: Float[Array, "..."]) -> list[Array]:
        return jnp.split(projected, [self.keys, 2 * self.keys], axis=-1)


def _gated(z: Float[Array, "..."]) -> Float[Array, "..."]:
    f, g = jnp.split(z, 2, axis=-1)
    return jnp.tanh(f) * jax.nn.sigmoid(g)


def _through_ring(
    ring: Float[Array, "C n"], position: Int[Array, ""], rows: Float[Array, "T n"], count: Int[Array, ""]
) -> tuple[Float[Array, "C+T n"], Float[Array, "C n"]]:
    """Row numbers position − C, ..., position + T − 1 in order, and the ring after the first `count` of the T new `rows`."""
    size = ring.shape[0]
    ordered = jnp.concatenate([jnp.roll(ring, -position, axis=0), rows])
    newest = jax.lax.dynamic_slice_in_dim(ordered, count, size)
    return ordered, jnp.roll(newest, position + count, axis=0)


CausalBlock: TypeAlias = TemporalConvolution | Attention


class CausalMemory(eqx.Module):
    """What a stack of blocks remembers of a stream."""

    position: Int[Array, ""]
    """Rows seen so far."""
    caches: tuple[Any, ...]
    """One for each block."""


class CausalStack(eqx.Module):
    """Blocks one after the other, each reading all that the one before says."""

    blocks: tuple[CausalBlock, ...]

    @property
    def n_out(self) -> int:
        return self.blocks[-1].n_out

    def empty(self) -> CausalMemory:
        """The memory before the first row."""
        return CausalMemory(jnp.zeros((), jnp.int32), tuple(block.empty() for block in self.blocks))

    def step(
        self, memory: CausalMemory, x: Float[Array, " inputs"], valid: Bool[Array, ""]
    ) -> tuple[Float[Array, " n_out"], CausalMemory]:
        """The next row; the memory goes on only where it is `valid`."""
        caches = []
        for block, cache in zip(self.blocks, memory.caches, strict=True):
            x, cache = block.step(cache, memory.position, x, valid)
            caches.append(cache)
        return x, CausalMemory(memory.position + valid, tuple(caches))

    def unroll(
        self, memory: CausalMemory | None, xs: Float[Array, "T inputs"], count: Int[Array, ""]
    ) -> tuple[Float[Array, "T n_out"], CausalMemory]:
        """The next T rows, the first ones without a memory, of which `count` are remembered; what is said of those after them is
        worth nothing."""
        position = jnp.zeros((), jnp.int32) if memory is None else memory.position
        before = (None,) * len(self.blocks) if memory is None else memory.caches
        caches = []
        for block, cache in zip(self.blocks, before, strict=True):
            xs, cache = block.unroll(cache, position, xs, count)
            caches.append(cache)
        return xs, CausalMemory(position + count, tuple(caches))
