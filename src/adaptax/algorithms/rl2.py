"""RL²: fast reinforcement learning via slow reinforcement learning.

Duan et al. 2016 (arXiv 1611.02779); Wang et al. 2016 (arXiv 1611.05763).

A recurrent policy sees φ(o_t, a_{t−1}, r_{t−1}, d_{t−1}) and keeps its memory over the E episodes of a lifetime with one task,
so that what it learns about the task is in its hidden state. Meta-training maximises the discounted return of the
*lifetime*, through episode borders (§2.2):

    max_θ  E_task E_π  Σ_t γᵗ r_t ,     t running over all E episodes.

Good at: tasks that are told apart in a few steps, exploration that pays later, cheap adaptation (one forward pass a step).
Bad at: long lifetimes, and tasks unlike those it was trained on, to which it cannot go on learning.

Where we depart from the paper: PPO instead of TRPO (as in its authors' own later runs), one network with two heads
instead of two networks (`shared=False` is not offered), rewards and observations at unit scale.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.collection.replay import replay
from adaptax.estimators.ppo import PPOCoefficients, epochs_over_tasks, ppo_loss
from adaptax.estimators.returns import discounts, following_in_lifetime, gae, standardise
from adaptax.learner import Learner
from adaptax.networks.distributions import from_outputs
from adaptax.networks.encoding import observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.layers import GRU, Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Layout, Lifetime, Metrics, Out, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class RL2:
    """RL²: a recurrent policy whose memory outlives the episode, trained by PPO on the return of the lifetime."""

    tasks: int = 128
    """Tasks (lifetimes) in one meta-update."""
    episodes: int = 0
    """Episodes in a lifetime; 0: as the task family says."""
    hidden: int = 64
    """Units of the GRU."""
    lr: float = 3e-3
    """Adam's step size."""
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

    def build(self, spec: Spec) -> RL2Algorithm:
        """The algorithm for a family's spec."""
        require_environments(spec, "RL²")
        return RL2Algorithm(self, spec)


class Network(eqx.Module):
    """Theta."""

    gru: GRU
    policy: Dense
    value: Dense
    log_std: Float[Array, " n"]
    normaliser: Normaliser


class RL2Learner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Network:
        k1, k2, k3 = jax.random.split(key, 3)
        return Network(
            gru=GRU(trial_inputs_size(self.spec), self.hidden, k1),
            policy=Dense(self.hidden, self.spec.action.size, 0.01, k2),
            value=Dense(self.hidden, 1, 1.0, k3),
            log_std=jnp.full((self.spec.action.size,), -0.5, jnp.float32),
            normaliser=Normaliser.of(observation_size(self.spec)),
        )

    def trainable(self, theta: Network) -> Any:
        return eqx.tree_at(
            lambda t: t.normaliser,
            super().trainable(theta),
            jax.tree.map(lambda _: False, theta.normaliser),
        )

    def remember(self, theta: Network) -> Float[Array, " hidden"]:
        return jnp.zeros((self.hidden,))

    def act(self, theta, fast, memory, step, key):
        h = theta.gru(memory, trial_inputs(self.spec, theta.normaliser, step))
        return self._out(theta, h, step), h

    def unroll(self, theta, fast, memory, steps, stream_key):
        x = jax.vmap(lambda s: trial_inputs(self.spec, theta.normaliser, s))(steps)
        hs = theta.gru.unroll(memory, x, steps.valid)
        return jax.vmap(lambda h, s: self._out(theta, h, s))(hs, steps), hs[-1]

    def _out(self, theta: Network, h: Float[Array, " hidden"], step: Step) -> Out:
        dist = from_outputs(self.spec.action, theta.policy(h), theta.log_std, step.action_mask)
        return Out(dist, theta.normaliser.to_value(theta.value(h)[0]))


class RL2Algorithm(Algorithm):
    learner: RL2Learner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    episodes: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    lr: Array
    γ: Array
    λ: Array
    coefficients: PPOCoefficients
    entropy_decay: Array
    max_gradient_norm: Array

    def __init__(self, config: RL2, spec: Spec):
        self.learner = RL2Learner(spec=spec, hidden=config.hidden)
        self.spec = spec
        self.tasks, self.epochs, self.minibatches = config.tasks, config.epochs, config.minibatches
        self.episodes = config.episodes or spec.episodes
        self.layout = self.test_layout(None)
        self.lr, self.γ, self.λ = jnp.array(config.lr), jnp.array(config.gamma), jnp.array(config.gae_lambda)
        self.coefficients = PPOCoefficients(
            clip=jnp.array(config.clip), value=jnp.array(config.value), entropy=jnp.array(config.entropy)
        )
        self.entropy_decay = jnp.array(config.entropy_decay)
        self.max_gradient_norm = jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        episodes = episodes or self.episodes
        return Layout(rounds=1, streams=1, steps=episodes * self.spec.episode_steps, episodes=episodes)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        normaliser = state.theta.normaliser

        # Advantages and value targets under the parameters that collected; constants from here on.
        advantage, target = jax.vmap(self.advantages)(lifetime.rounds)
        advantage = standardise(advantage, lifetime.rounds.valid)

        entropy = self.coefficients.entropy * self.entropy_decay**state.updates
        coefficients = eqx.tree_at(lambda c: c.entropy, self.coefficients, entropy)

        def loss(params: Any, one_task: Any) -> tuple[Array, Metrics]:
            lifetime, advantage, target = one_task
            out = replay(self.learner, eqx.combine(params, frozen), lifetime, self.layout)
            error = normaliser.from_value(out.value) - normaliser.from_value(target)
            return ppo_loss(out, lifetime.rounds, advantage, error, coefficients)

        params, opt_state, metrics = epochs_over_tasks(
            loss, params, state.opt_state, self.optimizer, self.lr, (lifetime, advantage, target), key,
            epochs=self.epochs, minibatches=self.minibatches,
            floats_per_task=self.layout.steps * self.layout.streams * self.learner.hidden,
        )  # fmt: skip
        theta = eqx.combine(params, frozen)
        theta = eqx.tree_at(lambda t: t.normaliser, theta, normaliser.update(lifetime.rounds, target))
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics

    def advantages(self, rows: Step) -> tuple[Float[Array, "K N T"], Float[Array, "K N T"]]:
        """GAE over the lifetime of one task, and the value targets A + V."""
        reward = jnp.where(rows.valid, rows.reward, 0.0)
        value = jnp.where(rows.valid, rows.value, 0.0)
        following = following_in_lifetime(rows.value, rows.valid, jnp.zeros(value.shape[1]))

        def stream(rows, reward, value, following):
            γs = discounts(rows, self.γ, "lifetime")
            return gae(reward, value, following, γs, self.γ, self.λ)

        advantage = jax.vmap(jax.vmap(stream))(rows, reward, value, following)
        advantage = jnp.where(rows.valid, advantage, 0.0)
        return advantage, advantage + value
