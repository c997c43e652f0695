"""Action values of one observation."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from adaptax.networks.layers import MLP, Dense


class QNetwork(eqx.Module):
    """Q(x, ·) for each of n actions; *duelling* (Wang et al. 2016, eq. 9): Q = V + A − mean A, from one body."""

    body: MLP | None
    """To features; None: there are no hidden layers."""
    value: Dense | None
    """V, where the network is duelling."""
    advantage: Dense
    """A, or Q itself."""
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        hidden: tuple[int, ...],
        actions: int,
        key: Key[Array, ""],
        duelling: bool = False,
        activation: Callable = jax.nn.relu,
    ):
        k_body, k_value, k_advantage = jax.random.split(key, 3)
        width = hidden[-1] if hidden else n_in
        self.body = MLP(n_in, hidden[:-1], width, k_body, activation, 2.0**0.5) if hidden else None
        self.value = Dense(width, 1, 1.0, k_value) if duelling else None
        self.advantage = Dense(width, actions, 1.0, k_advantage)
        self.activation = activation

    def __call__(self, x: Float[Array, " n_in"]) -> Float[Array, " actions"]:
        if self.body is not None:
            x = self.activation(self.body(x))
        q = self.advantage(x)
        return q if self.value is None else self.value(x) + q - q.mean()
