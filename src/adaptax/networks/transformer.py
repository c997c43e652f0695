"""A causal Transformer of the modern form, written for ONE sequence: pre-norm, rotary positions, a cache of keys and values.

Vaswani et al. 2017 (attention); Xiong et al. 2020 (normalisation before each part); Zhang & Sennrich 2019 (RMSNorm); Su et al. 2021
(rotary positions); Shazeer 2020 (SwiGLU). Row p sees rows p − context + 1 … p: what is older is forgotten. `step` takes one row
with the cache, `unroll` many rows at once; the same numbers come out of both.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.networks.attention import attend, attend_and_self
from adaptax.networks.layers import Dense

ROTARY_BASE = 10_000.0


class Cache(eqx.Module):
    """Keys and values of the last `context` rows of a stream, in a ring: row p lies in slot p mod context."""

    keys: tuple[Float[Array, "heads context d"], ...]
    """Of each layer, already rotated to their positions. Heads come first: a product over many streams is seven times as fast."""
    values: tuple[Float[Array, "heads context d"], ...]
    position: Int[Array, ""]
    """Rows read so far."""


class RMSNorm(eqx.Module):
    """x / √(mean x²) · g."""

    gain: Float[Array, " width"]

    def __init__(self, width: int):
        self.gain = jnp.ones((width,))

    def __call__(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        return x * jax.lax.rsqrt(jnp.mean(x * x) + 1e-6) * self.gain


class Block(eqx.Module):
    """x + Attention(norm(x)), then x + SwiGLU(norm(x))."""

    attention_norm: RMSNorm
    qkv: Dense
    out: Dense
    mlp_norm: RMSNorm
    up: Dense
    down: Dense
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, residual_gain: float, key: Key[Array, ""]):
        k1, k2, k3, k4 = jax.random.split(key, 4)
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.qkv, self.out = Dense(width, 3 * width, 1.0, k1), Dense(width, width, residual_gain, k2)
        self.up, self.down = Dense(width, 4 * width, 1.0, k3), Dense(2 * width, width, residual_gain, k4)
        self.heads = heads

    def project(self, x: Float[Array, " width"], position: Int[Array, ""]) -> tuple[Array, Array, Array]:
        """Query, key (both rotated) and value [heads, d] of a row."""
        q, k, v = self.qkv(self.attention_norm(x)).reshape(3, self.heads, -1)
        return rotated(q, position), rotated(k, position), v

    def after(self, x: Float[Array, " width"], read: Float[Array, "heads d"]) -> Float[Array, " width"]:
        """The block's output for a row, from what its heads have read."""
        x = x + self.out(read.reshape(-1))
        gate, linear = jnp.split(self.up(self.mlp_norm(x)), 2)
        return x + self.down(jax.nn.silu(gate) * linear)


class Transformer(eqx.Module):
    """Rows of `width` numbers to as many features."""

    blocks: tuple[Block, ...]
    norm: RMSNorm
    context: int = eqx.field(static=True)

    def __init__(self, width: int, layers: int, heads: int, context: int, key: Key[Array, ""]):
        # So that the sum over 2·layers branches has the size of one.
        gain = (2 * layers) ** -0.5
        self.blocks = tuple(Block(width, heads, gain, k) for k in jax.random.split(key, layers))
        self.norm, self.context = RMSNorm(width), context

    def empty(self) -> Cache:
        """Nothing read."""
        block = self.blocks[0]
        width = block.attention_norm.gain.shape[-1]
        zeros = (jnp.zeros((block.heads, self.context, width // block.heads)),) * len(self.blocks)
        return Cache(zeros, zeros, jnp.zeros((), jnp.int32))

    def step(
        self, cache: Cache, x: Float[Array, " width"], valid: Bool[Array, ""]
    ) -> tuple[Float[Array, " width"], Cache]:
        """Features of the next row, and the cache with it; where it is not valid, the cache as it was."""
        p, slot = cache.position, cache.position % self.context
        held = positions_in_slots(p, self.context)
        seen = (held >= 0) & (held > p - self.context)
        keys, values = [], []
        for block, old_keys, old_values in zip(self.blocks, cache.keys, cache.values, strict=True):
            q, k, v = block.project(x, p)
            x = block.after(x, attend_and_self(q, old_keys, old_values, seen, k, v))
            # All of a ring is read before one slot of it is written, so that it can stay where it is in memory.
            keys.append(old_keys.at[:, slot].set(jnp.where(valid, k, old_keys[:, slot])))
            values.append(old_values.at[:, slot].set(jnp.where(valid, v, old_values[:, slot])))
        return self.norm(x), Cache(tuple(keys), tuple(values), p + valid)

    def unroll(
        self, cache: Cache | None, xs: Float[Array, "T width"], valid: Bool[Array, " T"]
    ) -> tuple[Float[Array, "T width"], Cache]:
        """Features of T rows, and the cache after them; None: nothing came before, and nothing before is looked at. Rows that are
        not valid are not read; their features mean nothing."""
        anew, cache = cache is None, self.empty() if cache is None else cache
        number = jnp.cumsum(valid)
        p = cache.position + jnp.maximum(number - 1, 0)
        of_keys = jnp.where(valid, p, -1)
        if not anew:
            of_keys = jnp.concatenate([positions_in_slots(cache.position, self.context), of_keys])
        age = p[:, None] - of_keys
        seen = (of_keys >= 0) & (age >= 0) & (age < self.context)
        # Where no row is valid yet a query may see nothing at all: the softmax is then over equal numbers, and finite.

        end = cache.position + number[-1]
        after = positions_in_slots(end, self.context)
        rows = jnp.clip(jnp.searchsorted(number, after - cache.position + 1), 0, len(valid) - 1)
        is_new = (after >= cache.position)[:, None]

        keys, values = [], []
        for block, old_keys, old_values in zip(self.blocks, cache.keys, cache.values, strict=True):
            q, k, v = jax.vmap(block.project, out_axes=1)(xs, p)
            all_keys, all_values = (
                new if anew else jnp.concatenate([old, new], axis=1)
                for old, new in ((old_keys, k), (old_values, v))
            )
            xs = jax.vmap(block.after, (0, 1))(xs, attend(q, all_keys, all_values, seen))
            keys.append(jnp.where(is_new, k[:, rows], old_keys))
            values.append(jnp.where(is_new, v[:, rows], old_values))
        return jax.vmap(self.norm)(xs), Cache(tuple(keys), tuple(values), end)


def positions_in_slots(read: Int[Array, ""], context: int) -> Int[Array, " context"]:
    """The position of the row that each slot of the ring holds after `read` rows; negative: none yet."""
    slots = jnp.arange(context)
    return slots + (read - 1 - slots) // context * context


def rotated(x: Float[Array, "heads d"], position: Int[Array, ""]) -> Float[Array, "heads d"]:
    """The halves of each head as the two coordinates of d/2 points in the plane, turned by angles in proportion to the position: a
    product of two rows rotated so depends on their distance alone."""
    half = x.shape[-1] // 2
    angle = position * ROTARY_BASE ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
