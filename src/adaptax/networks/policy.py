"""A policy without memory: a network from observations to a distribution over actions."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.networks.candidates import in_rows
from adaptax.networks.convolution import ConvNet, Source
from adaptax.networks.distributions import Distribution, from_outputs
from adaptax.networks.layers import MLP
from adaptax.types import Candidates, Space


class Policy(eqx.Module):
    """π(·|x); the standard deviation over a `Box` is a parameter of its own.

    Vectors are read by a perceptron of `hidden` units, images by convolutions of `hidden` channels and a linear layer.
    """

    mlp: MLP
    log_std: Float[Array, " n"]
    space: Space = eqx.field(static=True)
    convolutions: ConvNet | None
    """Before the perceptron; None: there are none."""

    def __init__(
        self,
        n_in: int | tuple[int, ...],
        hidden: tuple[int, ...],
        space: Space,
        key: Key[Array, ""],
        activation: Callable = jnp.tanh,
    ):
        """`n_in`: the length of an observation, or the shape of an image."""
        self.convolutions = None
        if isinstance(n_in, tuple):
            key, k_convolutions = jax.random.split(key)
            self.convolutions = ConvNet(n_in, hidden, k_convolutions, activation)
            n_in, hidden = self.convolutions.features, ()
        if isinstance(space, Candidates):
            # One candidate's row, and what stands behind the rows.
            self.mlp = MLP(n_in - (space.n - 1) * space.features, hidden, 1, key, activation)
        else:
            self.mlp = MLP(n_in, hidden, space.size, key, activation)
        self.log_std = jnp.zeros((space.size,))
        self.space = space

    def __call__(
        self,
        x: Float[Array, " n"],
        action_mask: Bool[Array, " actions"] | None = None,
        source: Source | None = None,
    ) -> Distribution:
        """Of a flattened observation; `source`: where the statistics of convolutions come from."""
        if self.convolutions is not None:
            assert source is not None
            x, _ = self.convolutions(x, source)
        if isinstance(self.space, Candidates):
            rows, beside = in_rows(self.space, x)
            outputs = jax.vmap(lambda row: self.mlp(jnp.concatenate([row, beside]))[0])(rows)
        else:
            outputs = self.mlp(x)
        return from_outputs(self.space, outputs, self.log_std, action_mask)
