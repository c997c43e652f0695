"""The clipped objective of the adapted policies: PPO on the last round, differentiated through the rounds before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float

from adaptax import trees
from adaptax.collection.replay import replay
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.surrogates import ppo_clip
from adaptax.learner import Learner
from adaptax.types import Layout, Lifetime, Metrics, Out, Step, Theta


def adapted(learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout) -> tuple[Out, Step]:
    """What the adapted policy says of the last round [N, T] of one task, and that round."""
    return trees.index((replay(learner, theta, lifetime, layout), lifetime.rounds), -1)


def clipped_objective(
    learner: Learner, layout: Layout, frozen: Theta, clip: Float[Array, ""]
) -> Callable[[Any, tuple[Lifetime, Array, Array]], tuple[Array, Metrics]]:
    """loss(trained part of θ, (lifetime, advantage[N, T], weight) of one task): weight · E[L_clip(θ')]."""

    def loss(params: Any, one_task: tuple[Lifetime, Array, Array]) -> tuple[Array, Metrics]:
        lifetime, advantage, weight = one_task
        out, rows = adapted(learner, eqx.combine(params, frozen), lifetime, layout)
        return weight * clipped_loss(out, rows, advantage, clip), {"kl_nats": mean_kl(rows, out)}

    return loss


def clipped_loss(
    out: Out, rows: Step, advantage: Float[Array, "N T"], clip: Float[Array, ""]
) -> Float[Array, ""]:
    """PPO's clipped surrogate of one round: the mean over its valid rows."""
    assert rows.logp is not None
    return valid_mean(ppo_clip(log_probs(out, rows), rows.logp, advantage, clip), rows.valid)


def log_probs(out: Out, rows: Step) -> Float[Array, "N T"]:
    """Of the stored actions, under what the learner says now."""
    return jax.vmap(jax.vmap(lambda dist, action: dist.log_prob(action)))(out.dist, rows.action)


def mean_kl(rows: Step, out: Out) -> Float[Array, ""]:
    """KL divergence, in nats, of what the learner says now from the policy that collected; the mean over valid rows."""
    return valid_mean(jax.vmap(jax.vmap(lambda old, new: old.kl(new)))(rows.dist, out.dist), rows.valid)
