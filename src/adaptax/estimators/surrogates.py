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


def loaded_dice(
    logp: Float[Array, " T"], advantage: Float[Array, " T"], λ: float | Float[Array, ""] | Float[Array, " T"]
) -> Float[Array, " T"]:
    """Loaded DiCE surrogate per row of one sequence (Farquhar et al. 2019, algorithm 1): −(☐(w_t) − ☐(v_t)) A_t.

        w_t = v_t + log π_t,    v_t = λ_t w_{t−1},    ☐(x) = exp(x − ⟦x⟧)

    The gradient is −∇log π_t A_t for every λ. λ says how far back the curvature looks: at λ = 0 it is LVC's (no products
    between rows: low variance, biased), at λ = 1 DiCE's (all of them: unbiased). An array gives each row its own λ_t: 0
    where a row depends on none before it, as in an episode's first. The value is 0.
    """

    def step(w, inputs):
        logp, λ = inputs
        v = λ * w
        return v + logp, v

    v = jax.lax.scan(step, jnp.zeros(()), (logp, jnp.broadcast_to(λ, logp.shape)))[1]
    box = lambda x: jnp.exp(x - jax.lax.stop_gradient(x))  # noqa: E731
    return -(box(v + logp) - box(v)) * advantage


def likelihood_ratio(
    logp: Float[Array, "..."], old_logp: Float[Array, "..."], advantage: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Importance-weighted surrogate per row (Rothfuss et al. 2019, §6): −π/π_old · A; where π = π_old it is LVC."""
    return -jnp.exp(logp - old_logp) * advantage


def ppo_clip(
    logp: Float[Array, "..."],
    old_logp: Float[Array, "..."],
    advantage: Float[Array, "..."],
    clip: float | Float[Array, ""],
) -> Float[Array, "..."]:
    """Clipped surrogate per row (Schulman et al. 2017, eq. 7): −min(ρA, clip(ρ, 1−ε, 1+ε)A), ρ = π/π_old."""
    ratio = jnp.exp(logp - old_logp)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)
