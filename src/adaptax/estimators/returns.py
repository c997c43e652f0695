"""Returns and advantages, for ONE sequence [T]; batches come from `jax.vmap`.

Where a return ends is a choice, and `discounts` is the only place where it is made.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from adaptax.types import Step

Horizon = Literal["episode", "lifetime"]


def discounts(steps: Step, γ: float | Float[Array, ""], horizon: Horizon) -> Float[Array, " T"]:
    """γ_t, the weight of what follows row t: γ inside the horizon, 0 in its last row and in invalid rows.

    horizon="episode": an episode's last row ends it (a truncated one too; `next_value` adds what was cut off).
    horizon="lifetime": the return runs on through episode borders; the rows of the last episode end where it does.
    """
    γs = jnp.where(steps.valid, γ, 0.0)
    return (
        jnp.where(jnp.logical_or(steps.terminated, steps.truncated), 0.0, γs) if horizon == "episode" else γs
    )


def returns_to_go(reward: Float[Array, " T"], discount: Float[Array, " T"]) -> Float[Array, " T"]:
    """G_t = r_t + γ_t G_{t+1}, with G_T = 0."""

    def step(g, inputs):
        r, γ = inputs
        g = r + γ * g
        return g, g

    return jax.lax.scan(step, jnp.zeros(()), (reward, discount), reverse=True)[1]


def gae(
    reward: Float[Array, " T"],
    value: Float[Array, " T"],
    next_value: Float[Array, " T"],
    discount: Float[Array, " T"],
    γ: float | Float[Array, ""],
    λ: float | Float[Array, ""],
) -> Float[Array, " T"]:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16).

        δ_t = r_t + γ V'_t − V_t        A_t = δ_t + γ_t λ A_{t+1}

    `next_value` V'_t is the value of what follows row t, 0 where nothing does; `discount` γ_t is 0 where the sum
    must not go on, which is where the two differ: in a truncated row V' counts, the next row does not.
    """
    δ = reward + γ * next_value - value
    return returns_to_go(δ, λ * discount)


def following_in_lifetime(
    value: Float[Array, "K N T"], valid: Bool[Array, "K N T"], after_end: Float[Array, " N"]
) -> Float[Array, "K N T"]:
    """The value of the next valid row of the stream, through episode and round borders; `after_end` after the last one."""
    k, n, t = value.shape
    line = jnp.moveaxis(value, 1, 0).reshape(n, k * t)
    ok = jnp.moveaxis(valid, 1, 0).reshape(n, k * t)

    def back(following, inputs):
        v, is_valid = inputs
        return jnp.where(is_valid, v, following), following

    follow = jax.vmap(lambda end, v, ok: jax.lax.scan(back, end, (v, ok), reverse=True)[1])
    return jnp.moveaxis(follow(after_end, line, ok).reshape(n, k, t), 0, 1)


def standardise(x: Float[Array, "..."], valid: Bool[Array, "..."]) -> Float[Array, "..."]:
    """Mean 0 and standard deviation 1 over the valid entries; 0 elsewhere."""
    return jnp.where(valid, (x - valid_mean(x, valid)) / (standard_deviation(x, valid) + 1e-8), 0.0)


def standard_deviation(x: Float[Array, "..."], valid: Bool[Array, "..."]) -> Float[Array, ""]:
    """Of the valid entries."""
    return jnp.sqrt(valid_mean((x - valid_mean(x, valid)) ** 2, valid))


def valid_mean(x: Float[Array, "..."], valid: Bool[Array, "..."]) -> Float[Array, ""]:
    """The mean over valid entries."""
    return jnp.where(valid, x, 0.0).sum() / jnp.maximum(valid.sum(), 1)
