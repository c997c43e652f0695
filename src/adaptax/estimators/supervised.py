"""Losses and scores of predictions, per example."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax.networks.distributions import Categorical, Distribution, Gaussian


def prediction_error(dist: Distribution, label: Array) -> Float[Array, ""]:
    """The squared error of the mean, averaged over the label's entries, or the cross-entropy −log p(label) in nats."""
    if isinstance(dist, Gaussian):
        return jnp.mean((dist.mean - label) ** 2)
    return -dist.log_prob(label)


def prediction_score(dist: Distribution, label: Array) -> Float[Array, ""]:
    """Minus the squared error, or 1 where the likeliest class is the label's, else 0: higher is better."""
    if isinstance(dist, Categorical):
        return (dist.mode() == label).astype(jnp.float32)
    return -prediction_error(dist, label)
