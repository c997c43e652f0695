"""The multi-task baselines: one policy trained by PPO on all tasks at once.

The policy sees the observation alone, so it can do no better than the best compromise between the tasks. Its presets are
the rows beside which every meta-learner must stand (Mandi et al. 2022 found fine-tuning as good as meta-learning or
better where tasks really differ):

    multi-task   no adaptation
    fine-tune    the same policy, trained on with clipped policy-gradient steps on each round of the new task
    oracle       told the task's features: what knowing the task is worth to a network of the same size

Evaluated after 0 meta-updates, `fine-tune` is learning from scratch with the same budget.

Departure from Schulman et al. 2017: none in the loss; minibatches are drawn over tasks, not over rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.proximal import Proximal
from adaptax.adaptation.update_rules import Adam
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.few_shot import FewShotAlgorithm
from adaptax.collection.few_shot import pooled
from adaptax.collection.replay import replay, replay_with_values
from adaptax.errors import AdaptaxError
from adaptax.estimators.ppo import PPOCoefficients, epochs_over_tasks, ppo_loss
from adaptax.estimators.returns import discounts, gae, standardise
from adaptax.learner import Learner
from adaptax.networks.encoding import observation_size
from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.policy import Architecture, Policy
from adaptax.types import Layout, Lifetime, Metrics, Out, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class MultiTask:
    """One policy for all tasks, by PPO; optionally told the task, optionally fine-tuned on the new one."""

    tasks: int = 32
    """Tasks in one update."""
    streams: int = 20
    """Episodes of a task in one update, and in each round at test time."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of policy and critic."""
    told: bool = False
    """The policy sees the task's features: the oracle."""
    fine_tune_steps: int = 0
    """Gradient steps after each round of a new task; 0: none."""
    fine_tune_lr: float = 3e-3
    """Adam's step size in fine-tuning."""
    lr: float = 3e-3
    """Adam's step size in training."""
    gamma: float = 0.99
    """Discount γ per step of an episode."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    clip: float = 0.2
    """PPO's ε."""
    epochs: int = 4
    """Passes over the data of one update."""
    minibatches: int = 4
    """Parts that a pass is divided into."""
    entropy: float = 0.003
    """Weight of the entropy bonus."""
    max_gradient_norm: float = 0.5
    """The gradient's Euclidean norm is scaled down to this."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        if spec.supervised:
            if self.told:
                raise AdaptaxError(
                    f"The tasks of '{spec.name}' are labelled examples, for which there is no oracle; leave told=True out."
                )
            return JointAlgorithm(self, spec, self.joint_learner(spec))
        return MultiTaskAlgorithm(self, spec)

    def joint_learner(self, spec: Spec) -> GradientLearner:
        """On supervised tasks: one network for all, which adapts by Adam steps where it is to be fine-tuned."""
        lr = jnp.array(self.fine_tune_lr if self.fine_tune_steps else 0.0)
        return GradientLearner(
            # A network that adapts to no support has none to take statistics of: those of all examples that it is asked about.
            spec=spec, transductive=spec.images, hidden=self.hidden, architecture=Architecture("relu"),
            rule=Adam(lr, jnp.array(0.9), jnp.array(0.999)),
            first_order=False, head_only=False,
            inner_max_norm=None, inner_steps=0, later_lr_factor=jnp.array(1.0),
            γ=jnp.array(1.0), λ=jnp.array(1.0),
        )  # fmt: skip


class JointAlgorithm(FewShotAlgorithm):
    """Supervised tasks: all examples are there to be trained on, for nothing is adapted to some of them."""

    def __init__(self, config: MultiTask, spec: Spec, learner: GradientLearner):
        super().__init__(config, spec, learner, adaptations=0)

    def asked(self, data):
        return dataclasses.replace(data, query=pooled(data))


class MultiTaskTheta(eqx.Module):
    policy: Policy
    critic: MLP
    normaliser: Normaliser


class MultiTaskFast(eqx.Module):
    policy: Policy
    features: Array | None


class MultiTaskLearner(Learner):
    """fast: the policy, as fine-tuned so far, and for the oracle the task's features."""

    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    fine_tuning: Proximal

    def init(self, key: Key[Array, ""]) -> MultiTaskTheta:
        k1, k2 = jax.random.split(key)
        size = observation_size(self.spec)
        n_in = size + (self.spec.features if self.told else 0)
        return MultiTaskTheta(
            Policy(n_in, self.hidden, self.spec.action, k1),
            MLP(n_in, self.hidden, 1, k2, last_gain=1.0),
            Normaliser.of(size),
        )

    def begin(self, theta, key, features):
        return MultiTaskFast(theta.policy, features)

    def inputs(self, theta: MultiTaskTheta, fast: MultiTaskFast, obs: Array) -> Float[Array, " n"]:
        x = theta.normaliser.observation(obs)
        return x if fast.features is None else jnp.concatenate([x, fast.features])

    def act(self, theta, fast, memory, step, key):
        x = self.inputs(theta, fast, step.obs)
        return Out(fast.policy(x, step.action_mask), theta.normaliser.to_value(theta.critic(x)[0])), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        return jax.vmap(lambda step: self.act(theta, fast, memory, step, stream_key)[0])(steps), memory

    def adapt(self, theta, fast, batch, key):
        if self.fine_tuning.steps == 0:
            return fast
        x = jax.vmap(jax.vmap(lambda obs: self.inputs(theta, fast, obs)))(batch.obs)
        return MultiTaskFast(self.fine_tuning(fast.policy, x, batch), fast.features)


class MultiTaskAlgorithm(Algorithm):
    learner: MultiTaskLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    epochs: int = eqx.field(static=True)
    minibatches: int = eqx.field(static=True)
    lr: Array
    γ: Array
    λ: Array
    coefficients: PPOCoefficients
    max_gradient_norm: Array

    def __init__(self, config: MultiTask, spec: Spec):
        self.learner = MultiTaskLearner(
            told=config.told, spec=spec, hidden=config.hidden,
            fine_tuning=Proximal(
                config.fine_tune_steps, jnp.array(config.fine_tune_lr), jnp.array(config.gamma), jnp.array(config.gae_lambda),
                jnp.array(config.clip), jnp.zeros(()),
            ),
        )  # fmt: skip
        self.spec, self.tasks = spec, config.tasks
        self.epochs, self.minibatches = config.epochs, config.minibatches
        self.layout = Layout(1, config.streams, spec.episode_steps, episodes=1)
        self.γ, self.λ = jnp.array(config.gamma), jnp.array(config.gae_lambda)
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)
        self.coefficients = PPOCoefficients(
            clip=jnp.array(config.clip), value=jnp.array(0.5), entropy=jnp.array(config.entropy)
        )

    def test_layout(self, episodes: int | None) -> Layout:
        """Rounds of `streams` episodes, or of a quarter of the budget where that is smaller: there must be one to adapt in."""
        episodes = 4 * self.layout.streams if episodes is None else episodes
        streams = max(1, min(self.layout.streams, episodes // 4))
        return dataclasses.replace(self.layout, rounds=max(1, -(-episodes // streams)), streams=streams)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam(eps=1e-5))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        advantage, target = jax.vmap(lambda one: self.advantages(state.theta, one))(lifetime)
        advantage = standardise(advantage, lifetime.rounds.valid)
        normaliser = state.theta.normaliser.with_first_values(target, lifetime.rounds.valid)
        theta = eqx.tree_at(lambda t: t.normaliser, state.theta, normaliser)
        params, frozen = eqx.partition(theta, self.learner.trainable(theta))

        def loss(params: Any, one_task: Any) -> tuple[Array, Metrics]:
            lifetime, advantage, target = one_task
            theta = eqx.combine(params, frozen)
            out = replay(self.learner, theta, lifetime, self.layout)
            error = normaliser.from_value(out.value) - normaliser.from_value(target)
            return ppo_loss(out, lifetime.rounds, advantage, error, self.coefficients)

        params, opt_state, metrics = epochs_over_tasks(
            loss, params, state.opt_state, self.optimizer, self.lr, (lifetime, advantage, target), key,
            epochs=self.epochs, minibatches=self.minibatches,
            floats_per_task=self.layout.streams * self.layout.steps * max(self.learner.hidden, default=1),
        )  # fmt: skip
        theta = eqx.combine(params, frozen)
        after = normaliser.update(lifetime.rounds, target)
        kept = after.keep_values(theta.critic, normaliser)
        theta = eqx.tree_at(lambda t: (t.normaliser, t.critic), theta, (after, kept))
        return TrainState(theta, opt_state, state.key, state.updates, state.aux), metrics

    def advantages(
        self, theta: MultiTaskTheta, lifetime: Lifetime
    ) -> tuple[Float[Array, "1 N T"], Float[Array, "1 N T"]]:
        """GAE over each episode of one task, and the value targets A + V; a truncated episode's rest is the critic's guess."""
        rows = lifetime.rounds
        _, next_value = replay_with_values(self.learner, theta, lifetime, self.layout, "episode")

        def stream(rows: Step, next_value: Array) -> Array:
            γs = discounts(rows, self.γ, "episode")
            reward, value = (jnp.where(rows.valid, x, 0.0) for x in (rows.training_reward, rows.value))
            return gae(reward, value, next_value, γs, self.γ, self.λ)

        advantage = jnp.where(rows.valid, jax.vmap(jax.vmap(stream))(rows, next_value), 0.0)
        return advantage, advantage + rows.value
