"""Layers, written for one example: dense, multilayer perceptron, gated recurrent unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key


class Dense(eqx.Module):
    """y = Wx + b, with orthogonal W of a given gain and b = 0 at first (Saxe et al. 2014)."""

    weight: Float[Array, "out in_"]
    bias: Float[Array, " out"]

    def __init__(self, n_in: int, n_out: int, gain: float, key: Key[Array, ""]):
        self.weight = jax.nn.initializers.orthogonal(gain)(key, (n_out, n_in), jnp.float32)
        self.bias = jnp.zeros((n_out,))

    def __call__(self, x: Float[Array, " in_"]) -> Float[Array, " out"]:
        return self.weight @ x + self.bias


class MLP(eqx.Module):
    """Dense layers with an activation between them; the last layer is linear."""

    layers: tuple[Dense, ...]
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        key: Key[Array, ""],
        activation: Callable = jnp.tanh,
        last_gain: float = 0.01,
    ):
        sizes = (n_in, *hidden, n_out)
        keys = jax.random.split(key, len(sizes) - 1)
        gains = [2.0**0.5] * len(hidden) + [last_gain]
        self.layers = tuple(
            Dense(i, o, g, k) for i, o, g, k in zip(sizes[:-1], sizes[1:], gains, keys, strict=True)
        )
        self.activation = activation

    def __call__(self, x: Float[Array, " in_"]) -> Float[Array, " out"]:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class GRU(eqx.Module):
    """Gated recurrent unit (Cho et al. 2014, with the reset gate after the product as in cuDNN).

        r = σ(Wᵣx + Uᵣh)   z = σ(W_z x + U_z h)   n = tanh(Wₙx + r ⊙ (Uₙh + b))   h' = (1 − z) ⊙ n + z ⊙ h

    `unroll` equals a scan of `__call__` but multiplies the inputs of all steps with W at once, and its
    hand-written transpose does the same for the weights' gradients: two large products instead of 2T small ones.
    """

    input: Dense
    recurrent: Float[Array, "gates hidden"]
    bias: Float[Array, " hidden"]

    def __init__(self, n_in: int, hidden: int, key: Key[Array, ""]):
        k1, k2 = jax.random.split(key)
        self.input = Dense(n_in, 3 * hidden, 1.0, k1)
        orthogonal = jax.nn.initializers.orthogonal(1.0)
        self.recurrent = jnp.concatenate([orthogonal(k, (hidden, hidden)) for k in jax.random.split(k2, 3)])
        self.bias = jnp.zeros((hidden,))

    @property
    def hidden(self) -> int:
        return self.bias.shape[-1]

    def __call__(self, h: Float[Array, " hidden"], x: Float[Array, " in_"]) -> Float[Array, " hidden"]:
        return _cell(self.recurrent, self.bias, h, self.input(x))

    def unroll(
        self, h: Float[Array, " hidden"], xs: Float[Array, "T in_"], keep: Bool[Array, " T"]
    ) -> Float[Array, "T hidden"]:
        """Hidden states after each of T steps; the state passes unchanged through steps where `keep` is False."""
        return _scan_cells(self.recurrent, self.bias, h, jax.vmap(self.input)(xs), keep)


def _gates(recurrent, bias, h, wx):
    r_x, z_x, n_x = jnp.split(wx, 3)
    r_h, z_h, n_h = jnp.split(recurrent @ h, 3)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    a = n_h + bias
    return r, z, a, jnp.tanh(n_x + r * a)


def _cell(recurrent, bias, h, wx):
    _, z, _, n = _gates(recurrent, bias, h, wx)
    return n + z * (h - n)


@jax.custom_vjp
def _scan_cells(recurrent, bias, h0, wxs, keep):
    def step(h, inputs):
        wx, kept = inputs
        h = jnp.where(kept, _cell(recurrent, bias, h, wx), h)
        return h, h

    return jax.lax.scan(step, h0, (wxs, keep))[1]


def _scan_cells_forward(recurrent, bias, h0, wxs, keep):
    hs = _scan_cells(recurrent, bias, h0, wxs, keep)
    return hs, (recurrent, bias, h0, wxs, keep, hs)


def _scan_cells_backward(saved, d_hs):
    """Back-propagation through time; W's and U's gradients are left to one product over all steps."""
    recurrent, bias, h0, wxs, keep, hs = saved
    h_before = jnp.concatenate([h0[None], hs[:-1]])
    # The gates of all steps at once: no recurrence is needed to recompute them from the stored states.
    r, z, a, n = jax.vmap(_gates, (None, None, 0, 0))(recurrent, bias, h_before, wxs)

    def step(d_h, inputs):
        d_out, kept, r, z, a, n, h = inputs
        d = d_h + d_out
        d_n = d * (1.0 - z) * (1.0 - n * n)
        d_r, d_z = d_n * a * r * (1.0 - r), d * (h - n) * z * (1.0 - z)
        d_uh = jnp.where(kept, jnp.concatenate([d_r, d_z, d_n * r]), 0.0)
        d_before = jnp.where(kept, d * z, d) + recurrent.T @ d_uh
        return d_before, (d_uh, jnp.where(kept, d_n, 0.0))

    d_h0, (d_uhs, d_ns) = jax.lax.scan(
        step, jnp.zeros_like(h0), (d_hs, keep, r, z, a, n, h_before), reverse=True
    )
    hidden = h0.shape[-1]
    d_wxs = jnp.concatenate([d_uhs[:, : 2 * hidden], d_ns], axis=1)
    return d_uhs.T @ h_before, d_uhs[:, 2 * hidden :].sum(0), d_h0, d_wxs, None


_scan_cells.defvjp(_scan_cells_forward, _scan_cells_backward)
