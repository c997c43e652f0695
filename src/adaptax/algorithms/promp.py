"""ProMP: proximal meta-policy search.

Rothfuss, Lee, Clavera, Asfour, Abbeel 2019 (arXiv 1810.06784), Algorithm 1. MAML whose meta-update takes several steps on the
same lifetimes, with both distances kept small: that of the adapted policies, by PPO's clip, and that of the policies *before*
adaptation, from which the data of the inner step came, by a penalty.

    θ'_i = θ − α ∇ L_LR(θ; D_i),   L_LR = −E[π_θ(a|s) / π_old(a|s) · A]                       inner step (§6)
    min_θ  Σ_i L_clip(θ'_i; D'_i) + η Σ_k KL(π_old,k ‖ π_θ,k)                                  outer loop (§6)

The ratio in the inner step is what is new: once θ has moved, the first round is no longer its own data, and the ratio corrects
for that. In the first epoch it is 1, and the meta-gradient that of LVC (`estimators/surrogates.py`).

Good at: what MAML is good at, with more steps on each batch of lifetimes. Bad at: what MAML is bad at, sparse rewards above
all: the first round is credited through the curvature of the inner surrogate alone (§4), whose rows are taken one by one.

Where we depart from the paper: nothing more is learned from a batch once the adapted policies have gone `max_kl_nats` from
those that collected, and the meta-gradient's norm is bounded; `--preset paper` leaves both out. An adaptive η, which is that of
the paper's published code, is judged by the KL divergence after the last step, not before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax import trees
from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.update_rules import SGD
from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.algorithms.meta_gradient import MetaGradient, MetaGradientAlgorithm
from adaptax.chunks import chunk_size, map_tasks
from adaptax.collection.replay import replay
from adaptax.estimators.surrogates import likelihood_ratio
from adaptax.outer.post_adaptation import clipped_loss, mean_kl
from adaptax.types import Lifetime, Metrics, Out, Spec, Step


@dataclasses.dataclass(frozen=True)
class ProMP(MetaGradient):
    """ProMP: MAML that stays near the policies that collected, before adaptation and after it."""

    epochs: int = 8
    """Outer gradient steps on the data of one meta-update."""
    kl_penalty: float = 5e-4
    """η: weight of the inner KL divergence, nats of the policies before adaptation; its first value where it is adaptive."""
    adaptive: bool = False
    """Double η after a meta-update whose inner KL divergence ends above 1.5 times the target, halve it below 1/1.5 of it."""
    kl_target_nats: float = 0.01
    """What an adaptive η aims at, for each inner step."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        require_environments(spec, "ProMP")
        return ProMPAlgorithm(self, spec, self.learner(ProMPLearner, spec, SGD(jnp.array(self.inner_lr))))


class ProMPLearner(GradientLearner):
    def surrogate(self, logp, advantage, batch):
        # What the ratio of a row that is not valid may be is unknown, and an infinite one spoils the gradient of the others.
        collected = jnp.where(batch.valid, batch.logp, jax.lax.stop_gradient(logp))
        return likelihood_ratio(logp, collected, advantage)


class ProMPAlgorithm(MetaGradientAlgorithm):
    """`TrainState.aux` is η."""

    kl_penalty: Array
    kl_target_nats: Array
    adaptive: bool = eqx.field(static=True)

    def __init__(self, config: ProMP, spec: Spec, learner: ProMPLearner):
        super().__init__(config, spec, learner)
        self.adaptive = config.adaptive
        self.kl_penalty, self.kl_target_nats = jnp.array(config.kl_penalty), jnp.array(config.kl_target_nats)

    def init(self, key):
        return dataclasses.replace(super().init(key), aux=self.kl_penalty)

    def outer_step(self, params, frozen, opt_state, aux, data, key):
        η = aux
        params, opt_state, metrics = self.descend(self.loss(frozen, η), params, opt_state, data, key)
        if self.adaptive:
            theta = eqx.combine(params, frozen)
            of_task = lambda life: inner_kl(life.rounds, replay(self.learner, theta, life, self.layout))  # noqa: E731
            # Again: the metric of the last epoch is from before its step.
            kl = map_tasks(of_task, data[0], chunk_size(self.tasks, self.floats_per_task)).mean()
            metrics = metrics | {"inner_kl_nats": kl}
            η = next_penalty(η, kl, self.kl_target_nats * (self.layout.rounds - 1))
        return params, opt_state, η, metrics | {"kl_penalty": η}

    def loss(self, frozen: Any, η: Float[Array, ""]) -> Callable[[Any, Any], tuple[Array, Metrics]]:
        """loss(trained part of θ, (lifetime, advantage[N, T], weight) of one task)."""

        def loss(params: Any, one_task: tuple[Lifetime, Array, Array]) -> tuple[Array, Metrics]:
            lifetime, advantage, weight = one_task
            out = replay(self.learner, eqx.combine(params, frozen), lifetime, self.layout)
            adapted, rows = trees.index((out, lifetime.rounds), -1)
            kl = inner_kl(lifetime.rounds, out)
            total = weight * clipped_loss(adapted, rows, advantage, self.clip) + η * kl
            return total, {"kl_nats": mean_kl(rows, adapted), "inner_kl_nats": kl}

        return loss


def inner_kl(rounds: Step, out: Out) -> Float[Array, ""]:
    """Σ over the rounds before the last of the mean KL(collected ‖ now), in nats; rows [K, N, T] of one task."""
    before = trees.index((rounds, out), slice(None, -1))
    return jax.vmap(mean_kl)(*before).sum()


def next_penalty(η: Float[Array, ""], kl: Float[Array, ""], target: Float[Array, ""]) -> Float[Array, ""]:
    """2η where the KL divergence is above 1.5 times its target, η/2 where it is below 1/1.5 of it, else η."""
    factor = jnp.where(kl > 1.5 * target, 2.0, jnp.where(kl < target / 1.5, 0.5, 1.0))
    return factor * η
