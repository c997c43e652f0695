"""Reptile: move the initial parameters towards those that each task adapts to.

Nichol, Achiam, Schulman 2018 (arXiv 1803.02999), Algorithms 1 (one task an update: `tasks=1`) and 2 (batches):

    φ_i = U^k(θ; D_i)                      k ≥ 2 steps of SGD or Adam on task i
    θ ← θ + ε · mean_i (φ_i − θ)           ε falls linearly to 0 over `anneal_updates`

No derivative of the adaptation is taken. What θ learns beyond the average task comes from the k ≥ 2 steps: the update holds
the inner products of gradients of different data (§5.1), so that with k = 1 it is joint training.

Reinforcement learning: each inner step is a policy-gradient step on a round of fresh episodes, the last round's too. Supervised
tasks: steps on minibatches of the support and query sets together, which meta-training need not hold apart.

Good at: many inner steps, large networks (memory does not grow with k). Bad at: families in which the adapted parameters lie far
apart, so that their mean is no place to start from; it never asks how good the policy is *after* adapting.

Departure: the optimizer's state begins anew in every task (the paper's Adam, β₁ = 0, keeps its second moment between tasks).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax import keys, trees
from adaptax.adaptation.gradient import GradientFast, GradientLearner, GradientTheta
from adaptax.adaptation.update_rules import SGD, Adam
from adaptax.algorithms.few_shot import TEST_ADAPTATIONS, query_score, widest_layer
from adaptax.algorithms.meta_gradient import InnerLoop, InnerLoopAlgorithm
from adaptax.chunks import chunk_size, map_tasks
from adaptax.collection.few_shot import adapted_to, pooled, predict
from adaptax.collection.replay import readapt
from adaptax.outer.robust import task_weights
from adaptax.types import FewShot, Layout, Lifetime, Metrics, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class Reptile(InnerLoop):
    """Reptile: parameters near those that every task adapts to."""

    tasks: int = 20
    """Tasks in one meta-update; 1 is the serial version."""
    inner_steps: int = 4
    """Adaptation steps k on a task; each has a round of fresh episodes before it, or a minibatch."""
    inner_lr: float = 2.0
    """Inner step size α."""
    inner_max_norm: float = 0.2
    """On environments the Euclidean norm of an adaptation step's gradient is scaled down to this; 0: it is not. Steps are long,
    for θ moves no further than they do, and bounded, for later ones meet data unlike those of the first."""
    later_lr_factor: float = 1.0
    """Factor on adaptation steps beyond `inner_steps`."""
    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    """Of the adaptation steps; Adam without momentum (β₁ = 0) and with β₂ = 0.999."""
    inner_batch: int = 0
    """Supervised tasks: examples in the minibatch of a step; 0: all of them."""
    outer_step: float = 1.0
    """ε at first."""
    anneal_updates: int = 0
    """Meta-updates over which ε falls linearly to 0; 0: it stays."""

    def build(self, spec: Spec) -> ReptileAlgorithm:
        """The algorithm for a family's spec."""
        return ReptileAlgorithm(self, spec)


class ReptileLearner(GradientLearner):
    inner_batch: int = eqx.field(static=True)

    def adapt(
        self, theta: GradientTheta, fast: GradientFast, batch: Step, key: Key[Array, ""]
    ) -> GradientFast:
        if not self.inner_batch or not self.spec.supervised:
            return super().adapt(theta, fast, batch, key)
        rows = trees.index(batch, 0)
        # Drawn among the rows that are valid, without repetition as long as there are enough.
        order = jnp.argsort(jnp.where(rows.valid, jax.random.uniform(key, rows.valid.shape), 2.0))
        part = trees.index(trees.index(rows, order[: self.inner_batch]), jnp.newaxis)
        fast = super().adapt(theta, fast, part, key)
        return dataclasses.replace(fast, statistics=self.statistics(theta, fast.policy, batch))


class ReptileAlgorithm(InnerLoopAlgorithm):
    inner_steps: int = eqx.field(static=True)
    outer_step: Array
    anneal_updates: Array

    def __init__(self, config: Reptile, spec: Spec):
        lr = jnp.array(config.inner_lr)
        adam = Adam(lr, jnp.array(0.0), jnp.array(0.999))
        self.learner = config.learner(
            ReptileLearner, spec, adam if config.inner_optimizer == "adam" else SGD(lr),
            first_order=True, inner_batch=config.inner_batch,
        )  # fmt: skip
        self.spec, self.tasks, self.inner_steps = spec, config.tasks, config.inner_steps
        self.objective, self.cvar_share = config.objective, jnp.array(config.cvar_share)
        self.outer_step = jnp.array(config.outer_step)
        self.anneal_updates = jnp.array(float(config.anneal_updates))
        streams, episodes = (1, None) if spec.supervised else (config.streams, 1)
        self.layout = Layout(config.inner_steps, streams, spec.episode_steps, episodes, adapt_last=True)

    def test_layout(self, episodes: int | None) -> Layout:
        """As the other gradient methods do; on supervised tasks a round is an adaptation step."""
        if not self.spec.supervised:
            return super().test_layout(episodes)
        return Layout(1 + (TEST_ADAPTATIONS if episodes is None else episodes), 1, self.layout.steps, None)

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_run = jax.random.split(key)
        return TrainState(self.learner.init(k_theta), None, k_run, jnp.zeros((), jnp.int32))

    def learn(
        self, state: TrainState, lifetime: Lifetime | FewShot, key: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        theta: GradientTheta = state.theta
        chunk = chunk_size(self.tasks, self.floats_per_task)
        if isinstance(lifetime, FewShot):
            rows = pooled(trees.index(lifetime, 0)).valid.size
            widest = rows * widest_layer(self.spec, self.learner.hidden)
            chunk = chunk_size(self.tasks, max(widest, self.learner.floats_of_a_step))
            adapted = map_tasks(lambda one: self.adapted_to_all(theta, one), lifetime, chunk)
            after = map_tasks(lambda one: self.score(theta, one, self.inner_steps), lifetime, chunk)
            some = trees.index(lifetime, slice(chunk))  # to be looked at alone
            before = jax.vmap(lambda one: self.score(theta, one, 0))(some)
            metrics = {"return": after.mean(), "return_before_adaptation": before.mean()}
            weights, seen = task_weights(after, self.objective, self.cvar_share), theta
        else:
            adapted = map_tasks(
                lambda one: readapt(self.learner, theta, one, self.layout).policy, lifetime, chunk
            )
            metrics, weights, seen = {}, self.weights(lifetime), theta.observing(lifetime)

        ε = self.step_size(state.updates)
        towards = jax.tree.map(
            lambda φ, θ: jnp.tensordot(weights / self.tasks, φ - θ, axes=1), adapted, theta.policy
        )
        policy = jax.tree.map(lambda θ, δ: θ + ε * δ, theta.policy, towards)
        metrics |= {"outer_step": ε, "distance": optax.tree.norm(towards)}
        theta = GradientTheta(policy, theta.rule, seen.normaliser)
        return TrainState(theta, None, state.key, state.updates, state.aux), metrics

    def step_size(self, updates: Array) -> Float[Array, ""]:
        """ε of a meta-update."""
        left = 1.0 - updates / jnp.maximum(self.anneal_updates, 1.0)
        return self.outer_step * jnp.where(self.anneal_updates > 0, jnp.maximum(left, 0.0), 1.0)

    def adapted_to_all(self, theta: GradientTheta, data: FewShot):
        """The policy after k steps on the support and query sets of one task together."""
        together = FewShot(data.task, pooled(data), data.query, data.keys, data.features)
        fast = self.learner.begin(theta, keys.begin(data.keys), None)
        return adapted_to(self.learner, theta, together, fast, self.inner_steps).policy

    def score(self, theta: GradientTheta, data: FewShot, adaptations: int) -> Array:
        """Of the queries of one task after steps on its support alone."""
        return query_score(predict(self.learner, theta, data, adaptations), data.query)
