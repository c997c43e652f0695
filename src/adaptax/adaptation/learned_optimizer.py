"""A learned optimizer: one small recurrent network that reads the gradient of every parameter and says its step.

Andrychowicz et al. 2016 (arXiv 1606.04474), §2: the network ψ is *coordinatewise*, shared by all parameters, with a hidden
state for each, so that a few thousand numbers train networks of any size, and the order of the parameters does not matter:

    (Δ_i, h_i') = m_ψ(x_i, h_i)

Inputs are scaled as in their appendix A, since gradients differ by orders of magnitude: with p = 10,

    x = (log|g| / p, sign g)   where |g| ≥ e^−p,      (−1, e^p g)   elsewhere.

They are constants for ψ: without second derivatives, dθ_K/dψ is a sum over steps of dΔ_k/dψ (§2.1).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from adaptax.adaptation.update_rules import UpdateRule
from adaptax.networks.layers import GRU, Dense

SECOND_MOMENT_DECAY = 0.999
"""Of the running mean of squared gradients, Adam's β₂."""
TIME_SCALES = (3.0, 10.0, 30.0, 100.0)
"""In steps; what the network is told of the time is tanh(t/τ) for each."""


class OptimizerNetwork(eqx.Module):
    """ψ: features [x] of one coordinate and its hidden state to two outputs."""

    cell: GRU
    head: Dense


class OptimizerState(eqx.Module):
    """s, for P coordinates."""

    hidden: Float[Array, "P hidden"]
    momenta: Float[Array, "P decays"]
    second_moment: Float[Array, " P"]
    t: Array
    """int32, steps taken."""


class LearnedOptimizer(UpdateRule):
    """Δ = −α e^a (n + b), (a, b) = m_ψ(x, h): in units of α, and on a logarithmic scale where steps must grow or shrink far.

    n is Adam's direction m̂/√v̂ of the first of the `decays`, with which training begins as Adam does: a nominal term beside
    what is learned makes learned optimizers stable (Harrison et al. 2022, arXiv 2209.11208). Without `decays` n = 0,
    and the network reads the gradient alone, as in the paper.
    """

    lr: Array
    """α"""
    hidden: int = eqx.field(static=True, default=20)
    """Units of the recurrent network."""
    decays: tuple[float, ...] = eqx.field(static=True, default=(0.9, 0.5, 0.99))
    """Of the momentum features: running means of the gradient over the root of its running mean square. Empty: none."""
    context: bool = eqx.field(static=True, default=True)
    """The network is told the time, the parameter itself, and in which leaf of `params` it is; such a ψ serves networks of
    one shape of tree only."""
    p: float = eqx.field(static=True, default=10.0)
    """Gradients below e^−p are scaled linearly."""

    @property
    def floats_per_parameter(self):
        return 3 * self.hidden  # the gates

    def init(self, params, key):
        cell_key, head_key = jax.random.split(key)
        told = 1 + len(TIME_SCALES) + len(jax.tree.leaves(params)) if self.context else 0
        cell = GRU(2 + len(self.decays) + told, self.hidden, cell_key)
        # Without a nominal term a head of zeros would take no step; with it the first steps are Adam's.
        return OptimizerNetwork(cell, Dense(self.hidden, 2, 0.0 if self.decays else 1.0, head_key))

    def begin(self, ψ, params):
        n = sum(leaf.size for leaf in jax.tree.leaves(params))
        return OptimizerState(
            jnp.zeros((n, self.hidden)),
            jnp.zeros((n, len(self.decays))),
            jnp.zeros(n),
            jnp.zeros((), jnp.int32),
        )

    def step(self, ψ, state, params, gradient, loss):
        flat, unravel = ravel_pytree(params)
        # The network's inputs are constants: its own second derivatives are dropped (§2.1).
        g, flat = jax.lax.stop_gradient((ravel_pytree(gradient)[0], flat))
        t = state.t + 1
        momenta, second_moment, directions = self._momenta(state, g, t)
        inputs = [scaled_gradient(g, self.p), directions]
        if self.context:
            time = jnp.tanh(t / jnp.array(TIME_SCALES))
            inputs += [
                jnp.arcsinh(flat)[:, None],
                jnp.tile(time, (flat.size, 1)),
                leaf_of_coordinates(params),
            ]
        hidden = jax.vmap(ψ.cell)(state.hidden, jnp.concatenate(inputs, axis=1))
        a, b = jax.vmap(ψ.head)(hidden).T
        nominal = directions[:, 0] if self.decays else 0.0
        Δ = -self.lr * jnp.exp(a) * (nominal + b)
        return unravel(Δ), OptimizerState(hidden, momenta, second_moment, t)

    def _momenta(self, state: OptimizerState, g: Float[Array, " P"], t: Array) -> tuple[Array, Array, Array]:
        """(m, v, m̂/√v̂), without their bias towards the zeros that they begin with (Kingma & Ba 2015, §3)."""
        β = jnp.array(self.decays)
        m = β * state.momenta + (1 - β) * g[:, None]
        v = SECOND_MOMENT_DECAY * state.second_moment + (1 - SECOND_MOMENT_DECAY) * g**2
        root = jnp.sqrt(v / (1 - SECOND_MOMENT_DECAY**t)) + 1e-8
        return m, v, m / (1 - β**t) / root[:, None]


def scaled_gradient(g: Float[Array, " P"], p: float) -> Float[Array, "P 2"]:
    """(log|g|/p, sign g) where |g| ≥ e^−p, else (−1, e^p g): appendix A."""
    size = jnp.abs(g)
    large = size >= math.exp(-p)
    logarithm = jnp.log(jnp.where(large, size, 1.0)) / p
    return jnp.stack(
        [jnp.where(large, logarithm, -1.0), jnp.where(large, jnp.sign(g), math.exp(p) * g)], axis=1
    )


def leaf_of_coordinates(params: PyTree) -> Float[Array, "P leaves"]:
    """In which leaf of `params` each coordinate is, one-hot."""
    leaves = jax.tree.leaves(params)
    rows = jnp.eye(len(leaves))
    return jnp.concatenate([jnp.tile(row, (leaf.size, 1)) for row, leaf in zip(rows, leaves, strict=True)])
