"""Fast weights: networks that turn gradients into weights, and the memory of examples that such weights are read from.

Munkhdalai & Yu 2017 (arXiv 1703.00837), §3. Both networks are *coordinatewise*: one small network reads the gradient of every
weight, each by itself, and says the fast weight that belongs beside it. Gradients are inputs, and constant: nothing is
differentiated through them, as in the authors' code. They are scaled as in `learned_optimizer.py`, with p = 7 as theirs; beside
them the network is told in which leaf (a layer's weights, or biases) the coordinate is.
"""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Key, PyTree

from adaptax.adaptation.learned_optimizer import OptimizerNetwork, leaf_of_coordinates, scaled_gradient
from adaptax.networks.distributions import MASKED_LOGIT
from adaptax.networks.layers import GRU, MLP, Dense

T = TypeVar("T")

P = 7.0
"""Gradients below e^−p are scaled linearly."""
FIRST_GAIN = 0.1
"""Of the last layer of both networks: fast weights are small at first, but not zero, where ReLU would pass no gradient back."""


def features(gradient: PyTree) -> Float[Array, "P x"]:
    """What both networks are told of each coordinate."""
    flat = jax.lax.stop_gradient(ravel_pytree(gradient)[0])  # meta information is data
    return jnp.concatenate([scaled_gradient(flat, P), leaf_of_coordinates(gradient)], axis=1)


class ExampleGenerator(eqx.Module):
    """m: the gradient of one example's loss ↦ fast weights."""

    mlp: MLP

    def __init__(self, like: PyTree, hidden: int, key: Key[Array, ""]):
        """For weights shaped like `like`."""
        size = 2 + len(jax.tree.leaves(like))
        self.mlp = MLP(size, (hidden, hidden), 1, key, jax.nn.relu, last_gain=FIRST_GAIN)

    def __call__(self, gradient: T) -> T:
        return ravel_pytree(gradient)[1](jax.vmap(self.mlp)(features(gradient))[:, 0])


class TaskGenerator(eqx.Module):
    """d: the gradients of a task's rounds, one after the other, ↦ fast weights; with a hidden state for each coordinate."""

    network: OptimizerNetwork

    def __init__(self, like: PyTree, hidden: int, key: Key[Array, ""]):
        """For weights shaped like `like`."""
        k_cell, k_head = jax.random.split(key)
        size = 2 + len(jax.tree.leaves(like))
        self.network = OptimizerNetwork(GRU(size, hidden, k_cell), Dense(hidden, 1, FIRST_GAIN, k_head))

    def begin(self, like: PyTree) -> Float[Array, "P hidden"]:
        """The hidden state of a new task."""
        return jnp.zeros((ravel_pytree(like)[0].size, self.network.cell.state_size))

    def __call__(self, state: Float[Array, "P hidden"], gradient: T) -> tuple[Float[Array, "P hidden"], T]:
        state = jax.vmap(self.network.cell)(state, features(gradient))
        return state, ravel_pytree(gradient)[1](jax.vmap(self.network.head)(state)[:, 0])


class ExampleMemory(eqx.Module):
    """Fast weights by the examples that they were made of: rows are written by adaptation, and read by what they are like."""

    keys: Float[Array, "slots d"]
    """R: what the examples look like."""
    values: tuple[Dense, ...]
    """M, leaves [slots, ...]."""
    filled: Bool[Array, " slots"]

    @staticmethod
    def empty(slots: int, d: int, like: tuple[Dense, ...]) -> ExampleMemory:
        values = jax.tree.map(lambda x: jnp.zeros((slots, *x.shape)), like)
        return ExampleMemory(jnp.zeros((slots, d)), values, jnp.zeros(slots, bool))

    def attention(self, query: Float[Array, " d"], sharpness: Float[Array, ""]) -> Float[Array, " slots"]:
        """a = softmax(β cos(R, r)) over the filled slots; 0 in others, and everywhere as long as nothing is written."""
        logits = sharpness * (jax.vmap(unit)(self.keys) @ unit(query))
        a = jax.nn.softmax(jnp.where(self.filled, logits, MASKED_LOGIT))
        return jnp.where(self.filled, a, 0.0)


def unit(x: Float[Array, " d"]) -> Float[Array, " d"]:
    """x/‖x‖; 0 where x is."""
    return x * jax.lax.rsqrt(jnp.sum(x * x) + 1e-12)


def dealt(examples: T, slots: int) -> T:
    """Examples [E, T, ...] to slots [slots, rows, ...], example e to slot e mod `slots`; places left over are zero, or False."""

    def deal(x: Array) -> Array:
        e, t, *rest = x.shape
        turns = -(-e // slots)
        x = jnp.concatenate([x, jnp.zeros((turns * slots - e, t, *rest), x.dtype)])
        return jnp.moveaxis(x.reshape(turns, slots, t, *rest), 0, 1).reshape(slots, turns * t, *rest)

    return jax.tree.map(deal, examples)
