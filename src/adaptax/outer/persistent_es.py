"""Persistent evolution strategies: the gradient of a long inner training, estimated window by window, without its bias.

Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835), Algorithm 2. Antithetic pairs of particles go through inner trainings of
their own, a window of a few steps per meta-update, each window under θ perturbed anew by ±ε. What a window loses depends on
all perturbations since its inner training began; so it is their sum ξ that the loss is multiplied with:

    ĝ = 1/(2σ²) · mean over pairs of  ξ (L⁺ − L⁻),     ξ ← ξ + ε,    ε ~ N(0, σ²I)

A window as long as the inner training makes this the plain antithetic estimator. With ε in the place of ξ, it would be
truncated: blind to what a step does to later windows.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from adaptax import trees
from adaptax.types import Fast


class Particles(eqx.Module):
    """P antithetic pairs; in arrays over 2P particles, the two of a pair stand side by side."""

    accumulated: PyTree
    """ξ of the positive one, [P] leading: the sum of its perturbations since its inner training began."""
    fast: Fast
    """[2P], where the inner trainings stand."""
    draws: Key[Array, " P"]
    """What each pair's task was drawn with."""
    age: Array
    """int32[P], windows behind it."""


def begun(params: PyTree, draws: Key[Array, " P"], fast: Fast, windows: int) -> Particles:
    """Pairs at their beginning, from their fast states [P]; ages are spread over the windows of an inner training, so that every
    meta-update sees all of its parts."""
    pairs = draws.shape[0]
    zeros = jax.tree.map(lambda p: jnp.zeros((pairs, *p.shape), p.dtype), params)
    return Particles(zeros, _twice(fast), draws, jnp.arange(pairs, dtype=jnp.int32) % windows)


def _twice(fast: Fast) -> Fast:
    return jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), fast)


def perturbations(params: PyTree, pairs: int, noise: Float[Array, ""], key: Key[Array, ""]) -> PyTree:
    """ε ~ N(0, σ²I) for each pair: `params` with a leading axis [P]."""
    leaves, treedef = jax.tree.flatten(params)
    each = jax.random.split(key, max(1, len(leaves)))
    drawn = [
        noise * jax.random.normal(k, (pairs, *leaf.shape), leaf.dtype)
        for k, leaf in zip(each, leaves, strict=False)
    ]
    return jax.tree.unflatten(treedef, drawn)


def antithetic(params: PyTree, ε: PyTree) -> PyTree:
    """θ + ε, θ − ε of every pair: [2P] leading."""
    pair = lambda p, e: jnp.stack([p + e, p - e], axis=1).reshape(-1, *p.shape)  # noqa: E731
    return jax.tree.map(pair, params, ε)


def estimate(accumulated: PyTree, losses: Float[Array, " particles"], noise: Float[Array, ""]) -> PyTree:
    """ĝ, from ξ [P] with this window's perturbations in it, and the window's losses."""
    difference = losses[0::2] - losses[1::2]
    weigh = lambda ξ: jnp.tensordot(difference, ξ, 1) / (2.0 * noise**2 * difference.shape[0])  # noqa: E731
    return jax.tree.map(weigh, accumulated)


def renewed(particles: Particles, begun: Bool[Array, " P"], fresh_fast: Fast, fresh_draws: Any) -> Particles:
    """With a new inner training where `begun`: a new task, a new fast state [P] (for both of a pair), ξ = 0."""
    both = jnp.repeat(begun, 2)

    def choose(yes: PyTree, no: PyTree, where: Array) -> PyTree:
        pick = lambda a, b: jnp.where(where.reshape(-1, *([1] * (a.ndim - 1))), a, b)  # noqa: E731
        return jax.tree.map(pick, yes, no)

    return Particles(
        choose(trees.scale(0.0, particles.accumulated), particles.accumulated, begun),
        choose(_twice(fresh_fast), particles.fast, both),
        choose(fresh_draws, particles.draws, begun),
        jnp.where(begun, 0, particles.age),
    )
