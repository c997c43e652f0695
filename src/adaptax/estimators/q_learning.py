"""Deep Q-learning (Mnih et al. 2015): ε-greedy choice, and the temporal-difference error of a transition. For ONE state."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from adaptax.estimators.transitions import Transition, bootstrapped
from adaptax.networks.distributions import MASKED_LOGIT, Categorical

Values = Callable[[Float[Array, " n_obs"]], Float[Array, " actions"]]
"""Q(x, ·)"""


def greedy(q: Float[Array, " actions"], mask: Bool[Array, " actions"] | None) -> Float[Array, " actions"]:
    """Q with what is forbidden as bad as can be."""
    return q if mask is None else jnp.where(mask, q, MASKED_LOGIT)


def epsilon_greedy(
    q: Float[Array, " actions"], epsilon: Float[Array, ""], mask: Bool[Array, " actions"] | None = None
) -> Categorical:
    """With probability ε any of the allowed actions, else the one of greatest value. The first of equals is the greatest."""
    allowed = jnp.ones(q.shape, bool) if mask is None else mask
    best = jnp.arange(q.shape[0]) == jnp.argmax(greedy(q, mask))
    p = jnp.where(best, 1.0 - epsilon, 0.0) + epsilon * allowed / allowed.sum()
    return Categorical(jnp.where(p > 0, jnp.log(jnp.maximum(p, 1e-30)), MASKED_LOGIT))


def td_error(
    q: Values, target: Values, row: Transition, x: Array, next_x: Array, gamma: Float[Array, ""], double: bool
) -> Float[Array, ""]:
    """Q(x, a) − y, with y = r + γ (1 − terminated) Q̄(x', a*). x and x' are what the networks see of the observations.

    a* is best by the target network Q̄ itself, or, *double* (van Hasselt et al. 2016, eq. 4), by Q, which does not err with it.
    """
    next_target = greedy(target(next_x), row.next_mask)
    chooser = greedy(q(next_x), row.next_mask) if double else next_target
    y = bootstrapped(row.reward, row.terminated, next_target[jnp.argmax(chooser)], gamma)
    values = q(x)
    # A one-hot product, not a gather, as in `Categorical.log_prob`.
    return values @ (jnp.arange(values.shape[0]) == row.action).astype(values.dtype) - y


def huber(error: Float[Array, ""], delta: float = 1.0) -> Float[Array, ""]:
    """½e² near 0 and linear beyond ±δ: one bad target moves the network no further than δ does."""
    size = jnp.abs(error)
    return jnp.where(size <= delta, 0.5 * error**2, delta * (size - 0.5 * delta))
