"""Parts of the evidence lower bound of a belief that is a Gaussian over a latent vector, and changes from row to row.

A belief is the vector (μ, log σ²).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.networks.distributions import Gaussian


def gaussian(belief: Float[Array, "*rows two_latents"]) -> Gaussian:
    """The posterior whose (μ, log σ²) a belief is."""
    mean, log_variance = jnp.split(belief, 2, axis=-1)
    return Gaussian(mean, 0.5 * log_variance)


def some_rows(
    valid: Bool[Array, " T"], number: int, key: Key[Array, ""]
) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """Indices of `number` different rows, valid ones first and these uniformly drawn; and which of them are valid."""
    order = jax.random.uniform(key, valid.shape) + valid
    _, index = jax.lax.top_k(order, min(number, valid.shape[0]))
    return index, valid[index]


def kl_terms(belief: Float[Array, "T two_latents"]) -> Float[Array, " T"]:
    """KL( q(m|τ_{:t}) ‖ q(m|τ_{:t−1}) ) of each t, in nats; before the first row stands N(0, I)."""
    # Both sides are trained: a belief must not promise more than the next one keeps.
    before = jnp.concatenate([jnp.zeros_like(belief[:1]), belief[:-1]])
    return jax.vmap(lambda q, p: gaussian(q).kl(gaussian(p)))(belief, before)
