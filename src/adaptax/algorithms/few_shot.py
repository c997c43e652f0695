"""Meta-training on supervised tasks: one Adam step on the query loss of the adapted learners."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from adaptax import trees
from adaptax.adaptation.policy_gradient import PolicyGradientLearner
from adaptax.algorithms.base import Algorithm
from adaptax.chunks import chunk_size, map_tasks, mean_gradient
from adaptax.collection.few_shot import predict
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error, prediction_score
from adaptax.learner import Learner
from adaptax.outer.robust import Objective, task_weights
from adaptax.types import FewShot, Layout, Metrics, Out, Spec, Step, Theta, TrainState

TEST_ADAPTATIONS = 10
"""How often a learner adapts to the support of a new task, unless told otherwise (Finn et al. 2017, §5.1)."""


class FewShotAlgorithm(Algorithm):
    """min_θ  E_task[ L(adapt(θ, support); query) ], for any learner that adapts differentiably or remembers."""

    learner: Learner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    adaptations: int = eqx.field(static=True)
    """To the support, in one meta-update."""
    floats_per_row: int = eqx.field(static=True)
    """Of one example, in the widest layer."""
    floats_of_a_step: int = eqx.field(static=True)
    objective: Objective = eqx.field(static=True)
    cvar_share: Array
    lr: Array
    max_gradient_norm: Array

    def __init__(
        self, config: Any, spec: Spec, learner: Learner, adaptations: int, objective: Objective = "mean", cvar_share: float = 1.0,
        floats_per_row: int | None = None,
    ):  # fmt: skip
        self.learner, self.spec, self.tasks, self.adaptations = learner, spec, config.tasks, adaptations
        self.layout = Layout(adaptations + 1, 1, spec.support, episodes=None)
        self.floats_of_a_step = learner.floats_of_a_step if isinstance(learner, PolicyGradientLearner) else 0
        self.floats_per_row = widest_layer(spec, config.hidden) if floats_per_row is None else floats_per_row
        self.objective, self.cvar_share = objective, jnp.array(cvar_share)
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        """A round is an adaptation to the whole support: `episodes` counts them."""
        return dataclasses.replace(
            self.layout, rounds=1 + (TEST_ADAPTATIONS if episodes is None else episodes)
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam())

    def learn(self, state: TrainState, data: FewShot, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        rows = max(data.support.obs.shape[1], data.query.obs.shape[1])
        chunk = chunk_size(self.tasks, max(rows * self.floats_per_row, self.floats_of_a_step))

        def loss(params: Any, one_task: tuple[FewShot, Array]) -> tuple[Array, Metrics]:
            data, weight = self.asked(one_task[0]), one_task[1]
            out = predict(self.learner, eqx.combine(params, frozen), data, self.adaptations)
            error = query_error(out, data.query)
            return weight * error, {"loss": error, "return": query_score(out, data.query)}

        weights = jnp.ones(self.tasks)
        if self.objective != "mean":
            losses = map_tasks(lambda one: loss(params, (one, jnp.ones(())))[0], data, chunk)
            weights = task_weights(-losses, self.objective, self.cvar_share)
        gradient, metrics = mean_gradient(loss, params, (data, weights), chunk)
        direction, opt_state = self.optimizer.update(gradient, state.opt_state, params)
        # To be looked at alone: where a task is so large that few fit the cache, those few tell enough.
        some = trees.index(data, slice(chunk))
        before = jax.vmap(lambda one: self.unadapted(state.theta, one))(some).mean()
        metrics |= {"return_before_adaptation": before, "gradient_norm": optax.tree.norm(gradient)}
        theta = eqx.combine(eqx.apply_updates(params, trees.scale(-self.lr, direction)), frozen)
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics

    def asked(self, data: FewShot) -> FewShot:
        """One task's data, with the queries that the loss is of."""
        return data

    def unadapted(self, theta: Theta, data: FewShot) -> Array:
        """The score of one task's queries before adaptation."""
        return query_score(predict(self.learner, theta, data, 0), data.query)


class MemoryFewShotAlgorithm(FewShotAlgorithm):
    """The same for learners that remember: to adapt is to read the support, once."""

    def __init__(self, config: Any, spec: Spec, learner: Learner, floats_per_row: int):
        super().__init__(config, spec, learner, adaptations=1, floats_per_row=floats_per_row)

    def test_layout(self, episodes: int | None) -> Layout:
        """Two points: before the support has been read, and after; of `episodes` more than one are one."""
        return dataclasses.replace(self.layout, rounds=1 + (episodes != 0))


def widest_layer(spec: Spec, hidden: tuple[int, ...]) -> int:
    """Floats that a network says of one example: units, or channels at the positions of an image that is halved once."""
    positions = math.prod(-(-n // 2) for n in spec.observation[:2]) if spec.images else 1
    return positions * max(hidden, default=1)


def query_error(out: Out, query: Step) -> Array:
    """The mean error of predictions Out[Q]."""
    return valid_mean(jax.vmap(prediction_error)(out.dist, query.action), query.valid)


def query_score(out: Out, query: Step) -> Array:
    """The mean score of predictions Out[Q]."""
    return valid_mean(jax.vmap(prediction_score)(out.dist, query.action), query.valid)
