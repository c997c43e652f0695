"""What algorithms share whose learners remember: a lifetime of episodes in one stream, and PPO on its return (RL², SNAIL, ...)."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from adaptax.algorithms.base import Algorithm
from adaptax.collection.replay import replay
from adaptax.estimators.ppo import PPOCoefficients, epochs_over_tasks, ppo_loss
from adaptax.estimators.returns import discounts, following_in_lifetime, gae, standardise
from adaptax.learner import Learner
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Layout, Lifetime, Metrics, Out, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class MemoryPPO:
    """Hyperparameters of lifetimes and of PPO on them."""

    tasks: int = 128
    """Tasks (lifetimes) in one meta-update."""
    episodes: int = 0
    """Episodes in a lifetime; 0: as the task family says."""
    lr: float = 3e-3
    """Adam's step size in the first meta-update."""
    lr_decay: float = 1.0
    """Factor on that step size per meta-update."""
    gamma: float = 0.99
    """Discount γ per step of the lifetime."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip: float = 0.2
    """PPO's ε."""
    epochs: int = 4
    """Passes over the data of one meta-update."""
    minibatches: int = 4
    """Parts that a pass is divided into."""
    entropy: float = 0.01
    """Weight of the entropy bonus in the first meta-update: without it one arm is as good as another, and one is soon chosen."""
    entropy_decay: float = 1.0
    """Factor on that weight per meta-update."""
    value: float = 0.5
    """Weight of the critic's loss."""
    max_gradient_norm: float = 0.5
    """The gradient's Euclidean norm is scaled down to this."""

    def steps(self, spec: Spec) -> int:
        """Rows of a whole lifetime."""
        return (self.episodes or spec.episodes) * spec.episode_steps


class MemoryPPOAlgorithm(Algorithm):
    """max_θ  E_task E_π Σ_t γᵗ r_t, t running over all episodes of the lifetime, by clipped steps.

    Theta has a `normaliser`, and in `value` the critic, or its last layer; `Out.value` is in the units of returns.
    """

    learner: Learner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    episodes: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    floats_per_step: int = eqx.field(static=True)
    """Activations of one layer in one row."""
    lr: Array
    γ: Array
    λ: Array
    coefficients: PPOCoefficients
    entropy_decay: Array
    lr_decay: Array
    max_gradient_norm: Array

    def __init__(self, config: MemoryPPO, spec: Spec, learner: Learner, floats_per_step: int):
        self.learner, self.spec, self.floats_per_step = learner, spec, floats_per_step
        self.tasks, self.epochs, self.minibatches = config.tasks, config.epochs, config.minibatches
        self.episodes = config.episodes or spec.episodes
        self.layout = self.test_layout(None)
        self.lr, self.γ, self.λ = jnp.array(config.lr), jnp.array(config.gamma), jnp.array(config.gae_lambda)
        self.coefficients = PPOCoefficients(
            clip=jnp.array(config.clip), value=jnp.array(config.value), entropy=jnp.array(config.entropy)
        )
        self.entropy_decay, self.lr_decay = jnp.array(config.entropy_decay), jnp.array(config.lr_decay)
        self.max_gradient_norm = jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        episodes = episodes or self.episodes
        return Layout(rounds=1, streams=1, steps=episodes * self.spec.episode_steps, episodes=episodes)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def of_policy(self, theta: Any) -> PyTree[bool]:
        """Which leaves PPO trains: all, unless some are trained otherwise."""
        return self.learner.trainable(theta)

    def says(self, theta: Any, lifetime: Lifetime) -> Out:
        """Out[K, N, T]: what the learner says now of the stored rows of one task."""
        return replay(self.learner, theta, lifetime, self.layout)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        # Advantages and value targets under the parameters that collected; constants from here on.
        advantage, target = jax.vmap(self.advantages)(lifetime.rounds)
        advantage = standardise(advantage, lifetime.rounds.valid)
        normaliser: Normaliser = state.theta.normaliser.with_first_values(target, lifetime.rounds.valid)
        theta = eqx.tree_at(lambda t: t.normaliser, state.theta, normaliser)
        params, frozen = eqx.partition(theta, self.of_policy(theta))

        entropy = self.coefficients.entropy * self.entropy_decay**state.updates
        coefficients = eqx.tree_at(lambda c: c.entropy, self.coefficients, entropy)
        lr = self.lr * self.lr_decay**state.updates

        def loss(params: Any, one_task: Any) -> tuple[Array, Metrics]:
            lifetime, advantage, target = one_task
            out = self.says(eqx.combine(params, frozen), lifetime)
            error = normaliser.from_value(out.value) - normaliser.from_value(target)
            return ppo_loss(out, lifetime.rounds, advantage, error, coefficients)

        params, opt_state, metrics = epochs_over_tasks(
            loss, params, state.opt_state, self.optimizer, lr, (lifetime, advantage, target), key,
            epochs=self.epochs, minibatches=self.minibatches,
            floats_per_task=self.layout.steps * self.layout.streams * self.floats_per_step,
        )  # fmt: skip
        theta = eqx.combine(params, frozen)
        after = normaliser.update(lifetime.rounds, target)
        kept = after.keep_values(theta.value, normaliser)
        theta = eqx.tree_at(lambda t: (t.normaliser, t.value), theta, (after, kept))
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics

    def advantages(self, rows: Step) -> tuple[Float[Array, "K N T"], Float[Array, "K N T"]]:
        """GAE over the lifetime of one task, and the value targets A + V."""
        reward = jnp.where(rows.valid, rows.training_reward, 0.0)
        value = jnp.where(rows.valid, rows.value, 0.0)
        following = following_in_lifetime(rows.value, rows.valid, jnp.zeros(value.shape[1]))

        def stream(rows, reward, value, following):
            γs = discounts(rows, self.γ, "lifetime")
            return gae(reward, value, following, γs, self.γ, self.λ)

        advantage = jax.vmap(jax.vmap(stream))(rows, reward, value, following)
        advantage = jnp.where(rows.valid, advantage, 0.0)
        return advantage, advantage + value
