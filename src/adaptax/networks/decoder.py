"""A decoder: what a latent vector makes of an input."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from adaptax.networks.layers import MLP, Dense


class Decoder(eqx.Module):
    """A network of (x, m). Its first layer is a sum of one of x and one of m: mapped over all pairs of them, neither is computed
    more than once."""

    of_x: Dense
    of_m: Dense
    rest: MLP

    def __init__(self, n_in: int, latent: int, hidden: tuple[int, ...], n_out: int, key: Key[Array, ""]):
        k1, k2, k3 = jax.random.split(key, 3)
        self.of_x = Dense(n_in, hidden[0], 1.0, k1)
        self.of_m = Dense(latent, hidden[0], 1.0, k2)
        self.rest = MLP(hidden[0], hidden[1:], n_out, k3, jax.nn.relu, last_gain=1.0)

    def __call__(self, x: Float[Array, " n"], m: Float[Array, " latent"]) -> Float[Array, " out"]:
        return self.rest(jax.nn.relu(self.of_x(x) + self.of_m(m)))

    def pairs(self, xs: Float[Array, "D n"], ms: Float[Array, "E latent"]) -> Float[Array, "E D out"]:
        """Of every x with every m."""
        return jax.vmap(jax.vmap(self, (0, None)), (None, 0))(xs, ms)
