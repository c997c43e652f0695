"""A policy without memory: a multilayer perceptron from observations to a distribution over actions."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.networks.distributions import Distribution, from_outputs
from adaptax.networks.layers import MLP
from adaptax.types import Space


class Policy(eqx.Module):
    """π(·|x); the standard deviation over a `Box` is a parameter of its own."""

    mlp: MLP
    log_std: Float[Array, " n"]
    space: Space = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        hidden: tuple[int, ...],
        space: Space,
        key: Key[Array, ""],
        activation: Callable = jnp.tanh,
    ):
        self.mlp = MLP(n_in, hidden, space.size, key, activation)
        self.log_std = jnp.zeros((space.size,))
        self.space = space

    def __call__(
        self, x: Float[Array, " n"], action_mask: Bool[Array, " actions"] | None = None
    ) -> Distribution:
        return from_outputs(self.space, self.mlp(x), self.log_std, action_mask)
