"""Objectives of a whole inner training, not of its end alone: Σ_k L(θ_k) of the policies or networks after k adaptation steps."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax import keys
from adaptax.collection.few_shot import prediction_curve
from adaptax.collection.replay import replay_from
from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error, prediction_score
from adaptax.estimators.surrogates import ppo_clip
from adaptax.learner import Learner
from adaptax.outer.post_adaptation import log_probs, mean_kl
from adaptax.types import Fast, FewShot, Layout, Lifetime, Metrics, Theta


def mean_error(
    learner: Learner, theta: Theta, data: FewShot, adaptations: int, fast: Fast
) -> tuple[Array, Fast, Metrics]:
    """Of ONE supervised task: the error of the queries, the mean over what comes of each adaptation from a given fast state; the
    state then."""
    outs, fast = prediction_curve(learner, theta, data, adaptations, fast)

    def mean_of(measure: Any) -> Array:
        each = jax.vmap(jax.vmap(measure), (0, None))(outs.dist, data.query.action)
        return jax.vmap(valid_mean, (0, None))(each, data.query.valid)

    scores, loss = mean_of(prediction_score), mean_of(prediction_error)[1:].mean()
    return loss, fast, {"loss": loss, "return": scores[-1], "return_before_adaptation": scores[0]}


class EveryRound(eqx.Module):
    """Its gradient is, up to a factor, that of −Σ_k w_k J(θ_k), the sampling of earlier rounds held fixed; clipped as PPO's."""

    clip: Array
    late: Array
    """w_k ∝ (k/K)^late."""
    entropy: Array
    """Weight of the policies' entropy in nats; it falls to zero linearly until round K."""

    def loss(
        self,
        learner: Learner,
        theta: Theta,
        lifetime: Lifetime,
        advantage: Float[Array, "K N T"],
        layout: Layout,
    ) -> tuple[Array, Metrics]:
        """Of ONE task's lifetime, from the beginning of the task."""
        rows = lifetime.rounds
        fast = learner.begin(theta, keys.begin(lifetime.keys), None)
        out, _ = replay_from(learner, theta, lifetime, layout, fast)
        clipped = ppo_clip(jax.vmap(log_probs)(out, rows), rows.logp, advantage, self.clip)  # type: ignore[arg-type]
        entropy = jax.vmap(jax.vmap(jax.vmap(lambda dist: dist.entropy())))(out.dist)
        share = jnp.arange(layout.rounds)[:, None, None] / (layout.rounds - 1)
        weight = share**self.late
        weight = weight / weight.mean()
        loss = weight * clipped - self.entropy * (1 - share) * entropy
        metrics = {
            "kl_nats": jax.vmap(mean_kl)(rows, out).mean(),
            "entropy_nats": valid_mean(entropy, rows.valid),
        }
        # A sum over the rows of an episode: a long one counts for as much as it earns.
        return jnp.where(rows.valid, loss, 0.0).sum(-1).mean(), metrics


def comparable_advantages(
    lifetimes: Lifetime, γ: Float[Array, ""], λ: Float[Array, ""]
) -> Float[Array, "B K N T"]:
    """Over a linear baseline of each round, in units of their root mean square over all tasks and rounds: standardised in each
    round, they would weigh what a policy that is nearly perfect can still gain as much as what a random one can."""
    rows = lifetimes.rounds
    advantage = jax.vmap(jax.vmap(lambda batch: linear_advantages(batch, γ, λ)))(rows)
    return advantage / jnp.sqrt(valid_mean(advantage**2, rows.valid) + 1e-8)
