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
        return x @ self.weight.T + self.bias


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

    `unroll` equals a scan of `__call__`, but multiplies the inputs of all steps with W at once.
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

        def step(h, inputs):
            wx, kept = inputs
            h = jnp.where(kept, _cell(self.recurrent, self.bias, h, wx), h)
            return h, h

        return jax.lax.scan(step, h, (jax.vmap(self.input)(xs), keep))[1]


def _cell(recurrent, bias, h, wx):
    r_x, z_x, n_x = jnp.split(wx, 3)
    r_h, z_h, n_h = jnp.split(h @ recurrent.T, 3)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + r * (n_h + bias))
    return n + z * (h - n)
