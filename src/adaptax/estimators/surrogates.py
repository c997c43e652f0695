"""Surrogate objectives: functions whose gradients are policy gradients. All are to be *minimised*."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def lvc(logp: Float[Array, "..."], advantage: Float[Array, "..."]) -> Float[Array, "..."]:
    """Low-variance-curvature surrogate per row (Rothfuss et al. 2019, eq. 12): −π(a|s)/⟦π(a|s)⟧ · A.

    ⟦·⟧ stops the gradient, so the value is −A, the gradient −∇log π · A, and the curvature keeps ∇²log π + ∇log π ∇log πᵀ
    of each row, which the plain −log π · A loses.
    """
    return -jnp.exp(logp - jax.lax.stop_gradient(logp)) * advantage


def dice(logp: Float[Array, " T"], reward: Float[Array, " T"]) -> Float[Array, ""]:
    """DiCE surrogate of one sequence (Foerster et al. 2018, eq. 5): −Σ_t ☐(Σ_{s≤t} log π_s) r_t, ☐(x) = exp(x − ⟦x⟧).

    Its derivatives of every order are unbiased for those of the expected return; `reward` is already discounted.
    """
    past = jnp.cumsum(logp)
    return -jnp.sum(jnp.exp(past - jax.lax.stop_gradient(past)) * reward)


def ppo_clip(
    logp: Float[Array, "..."],
    old_logp: Float[Array, "..."],
    advantage: Float[Array, "..."],
    clip: float | Float[Array, ""],
) -> Float[Array, "..."]:
    """Clipped surrogate per row (Schulman et al. 2017, eq. 7): −min(ρA, clip(ρ, 1−ε, 1+ε)A), ρ = π/π_old."""
    ratio = jnp.exp(logp - old_logp)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)
