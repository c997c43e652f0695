"""What algorithms share that train an optimizer by what it makes of random policies: hyperparameters, layout, the outer step."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array

from adaptax import trees
from adaptax.adaptation.gradient import FromScratchLearner
from adaptax.adaptation.learned_optimizer import LearnedOptimizer
from adaptax.algorithms.base import Algorithm
from adaptax.chunks import chunk_size
from adaptax.networks.layers import Activation
from adaptax.networks.policy import Architecture
from adaptax.types import Layout, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class InnerTraining:
    """Hyperparameters of the inner training, of the learned optimizer, and of the outer step."""

    tasks: int = 16
    """Inner trainings in one meta-update."""
    streams: int = 10
    """Episodes of a task in each round."""
    horizon: int = 10
    """Adaptation steps of an inner training."""
    hidden: tuple[int, ...] = (32,)
    """Units of the policy's hidden layers."""
    activation: Activation = "tanh"
    """Between the layers."""
    optimizer_hidden: int = 20
    """Units of the optimizer's recurrent network, which has one state for each parameter of the policy."""
    inner_lr: float = 0.03
    """The unit of the optimizer's steps; at first it is Adam with this step size."""
    momentum_features: bool = True
    """The optimizer reads running means of the gradient, and steps in the direction of Adam plus what is learned."""
    context_features: bool = True
    """The optimizer is told the time, each parameter, and the layer that it is in."""
    gamma: float = 0.99
    """Discount γ per step of an episode."""
    gae_lambda: float = 1.0
    """λ of generalised advantage estimation."""
    lr: float = 1e-2
    """Adam's step size in the outer loop."""
    max_gradient_norm: float = 1.0
    """The meta-gradient's Euclidean norm is scaled down to this."""

    def learner(self, spec: Spec, truncation: int) -> FromScratchLearner:
        """A learner with these hyperparameters, whose adaptation is cut every `truncation` steps; 0: nowhere."""
        rule = LearnedOptimizer(
            jnp.array(self.inner_lr), self.optimizer_hidden, (0.9, 0.5, 0.99) if self.momentum_features else (),
            self.context_features,
        )  # fmt: skip
        return FromScratchLearner(
            spec=spec, hidden=self.hidden, architecture=Architecture(self.activation), rule=rule, first_order=False,
            head_only=False, inner_max_norm=None, inner_steps=0, later_lr_factor=jnp.array(1.0), γ=jnp.array(self.gamma),
            λ=jnp.array(self.gae_lambda), truncation=truncation,
        )  # fmt: skip


class InnerTrainingAlgorithm(Algorithm):
    """Of a learned optimizer."""

    learner: FromScratchLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    lr: Array
    max_gradient_norm: Array

    def __init__(self, config: InnerTraining, spec: Spec, learner: FromScratchLearner, steps: int):
        """`steps`: adaptation steps in one meta-update."""
        self.learner, self.spec, self.tasks, self.horizon = learner, spec, config.tasks, config.horizon
        self.layout = (
            Layout(steps, 1, spec.support, episodes=None)
            if spec.supervised
            else Layout(steps, config.streams, spec.episode_steps, episodes=1)
        )
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        """As many adaptation steps as in an inner training; `episodes` counts the steps on a supervised task, else the episodes."""
        if self.spec.supervised:
            return dataclasses.replace(
                self.layout, rounds=1 + (self.horizon if episodes is None else episodes)
            )
        episodes = (self.horizon + 1) * self.layout.streams if episodes is None else episodes
        streams = min(self.layout.streams, -(-episodes // 2))
        return dataclasses.replace(self.layout, rounds=-(-episodes // streams), streams=streams)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(b2=0.99, eps=1e-8)
        )

    @property
    def chunk(self) -> int:
        return chunk_size(self.tasks, self.floats_per_task)

    @property
    def floats_per_task(self) -> int:
        rows = self.layout.streams * self.layout.steps
        return max(rows * max(self.learner.hidden, default=1), self.learner.floats_of_a_step)

    def descended(self, state: TrainState, gradient: Any, metrics: Metrics) -> tuple[TrainState, Metrics]:
        """The state after one step of Adam."""
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        direction, opt_state = self.optimizer.update(gradient, state.opt_state, params)
        theta = eqx.combine(eqx.apply_updates(params, trees.scale(-self.lr, direction)), frozen)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics
