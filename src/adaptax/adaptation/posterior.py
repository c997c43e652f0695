"""A Gaussian belief about the task, as a product of one factor for each piece of evidence (PEARL, Rakelly et al. 2019, §4.1).

    q(z | c₁..cₙ)  ∝  N(z; 0, I) · Π N(z; μᵢ, 1/λᵢ)

In natural parameters a product is a sum, whatever its order: evidence can be multiplied in all at once, or round by round.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

Latent = Float[Array, " d"]


class GaussianBelief(eqx.Module):
    """N(z; weighted / precision, 1 / precision), independent in every entry."""

    precision: Latent
    """Λ = 1 + Σ λᵢ"""
    weighted: Latent
    """Σ λᵢ μᵢ: the mean times the precision."""

    @property
    def mean(self) -> Latent:
        return self.weighted / self.precision

    @property
    def std(self) -> Latent:
        return jax.lax.rsqrt(self.precision)

    def sample(self, key: Key[Array, ""]) -> Latent:
        """Reparameterised: differentiable in the mean and the deviation."""
        return self.mean + self.std * jax.random.normal(key, self.precision.shape)


def prior(latent: int) -> GaussianBelief:
    """N(0, I): what is believed before any evidence, the empty product."""
    return GaussianBelief(jnp.ones((latent,)), jnp.zeros((latent,)))


def multiplied(
    belief: GaussianBelief,
    means: Float[Array, "n d"],
    precisions: Float[Array, "n d"],
    valid: Bool[Array, " n"],
) -> GaussianBelief:
    """The belief times the factors N(z; μᵢ, 1/λᵢ) of the valid rows, λᵢ ≥ 0."""
    # Where, not a product: what stands in a row that is not valid may be anything.
    λ = jnp.where(valid[:, None], precisions, 0.0)
    λμ = jnp.where(valid[:, None], precisions * means, 0.0)
    return GaussianBelief(belief.precision + λ.sum(0), belief.weighted + λμ.sum(0))


def kl_from_prior(belief: GaussianBelief) -> Float[Array, ""]:
    """KL(q ‖ N(0, I)) = ½ Σ [1/Λ + mean² − 1 + log Λ], in nats."""
    return 0.5 * jnp.sum(1.0 / belief.precision + belief.mean**2 - 1.0 + jnp.log(belief.precision))
