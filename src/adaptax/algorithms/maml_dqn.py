"""MAML-DQN: an initial Q-network from which a few DQN steps on a new task lead to a good policy.

Finn et al. 2017 (arXiv 1703.03400) for the two loops, Mnih et al. 2015 for what is done in each. Inside a task, after each round
of episodes, k steps on the temporal-difference (TD) error of minibatches of what the task has shown last, its *support*, with a
target network of its own that is copied every c of these steps:

    θ' = θ − α Σ_j ∇ L_TD(θ_j; support)                                                      (`adaptation/q_learning.py`)

Outside, one of two objectives over tasks, differentiated through those steps (`first_order`: as if they were constants):

    td        min_θ  E_task L_TD(θ'; query),   y = r + γ (1 − terminated) Q_{θ̄'}(s', argmax Q_θ')
    return    max_θ  E_task E[return of π_θ'],   π = softmax(Q/τ), by clipped policy-gradient steps on the last round

θ̄' is adapted from a copy θ̄ of θ.

With `td` whole lifetimes of past meta-updates are replayed: their support leads to θ' again, from the θ of now, and their query
judges it. The TD error can fall while the return does not; what counts is the return.

Good at: few actions, few environment steps in meta-training. Bad at: rewards that ε-greedy behaviour does not find in the
support, for without them θ' knows no more than θ; continuous actions.

There is no paper whose figures this could be held against; tutorials differ in all details.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.adaptation.q_learning import (
    DQNSteps,
    Exploration,
    QFast,
    QLearner,
    QTheta,
    Schedule,
    renewed,
    require_choices,
)
from adaptax.adaptation.update_rules import SGD
from adaptax.algorithms.base import Algorithm, require_environments, rounds_for
from adaptax.buffers import RingBuffer
from adaptax.chunks import chunk_size, mean_gradient
from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.estimators.returns import standardise, valid_mean
from adaptax.estimators.transitions import Transition, blank, transitions
from adaptax.networks.q_network import QNetwork
from adaptax.outer.post_adaptation import clipped_objective
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class MAMLDQN:
    """MAML-DQN: meta-learned initial Q-network, adapted by DQN steps on the new task."""

    tasks: int = 16
    """Tasks in one meta-update."""
    inner_rounds: int = 2
    """Rounds of experience before the one that judges; the learner adapts after each."""
    streams: int = 1
    """Episodes of a round."""
    inner_steps: int = 4
    """DQN steps after a round."""
    inner_lr: float = 0.4
    """α, of plain gradient descent."""
    inner_batch: int = 64
    """Transitions of one inner step."""
    inner_copy_every: int = 4
    """Inner steps between copies to the task's own target network."""
    first_order: bool = False
    """Inner gradients count as constants: no second derivatives."""
    outer: Literal["td", "return"] = "td"
    """What the adapted network is judged by."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the network's hidden layers."""
    double: bool = True
    """The network itself chooses the next action, which the target network judges."""
    lr: float = 2e-3
    """Adam's step size in the outer loop."""
    gamma: float = 0.95
    """Discount γ within an episode."""
    reward_scale: float = 0.05
    """What rewards are multiplied by: values of about 1 keep gradients at a length that suits α."""
    sees_shaped: bool = False
    """On new tasks too it learns from the shaped reward, where the family gives one; else from what the task pays."""
    gradient_steps: int = 50
    """Outer gradient steps in one meta-update."""
    meta_batch: int = 8
    """td: lifetimes of one outer gradient step."""
    lifetimes: int = 1024
    """td: lifetimes that are kept, the newest."""
    copy_every: int = 100
    """td: outer gradient steps between copies to θ̄."""
    epsilon: float = 1.0
    """td: ε at first."""
    last_epsilon: float = 0.05
    """td: ε from `epsilon_steps` on, and on new tasks."""
    epsilon_steps: int = 20_000
    """td: environment steps over which ε falls."""
    temperature: float = 1.0
    """return: τ of the policy softmax(Q/τ)."""
    clip: float = 0.2
    """return: PPO's ε."""
    max_gradient_norm: float = 10.0
    """Gradients of both loops are scaled down to this Euclidean norm."""

    def build(self, spec: Spec) -> MAMLDQNAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where there is no choice of actions."""
        require_environments(spec, "MAML-DQN")
        require_choices(spec, "MAML-DQN")
        return {"td": ByTDError, "return": ByReturn}[self.outer](self, spec)


class MAMLDQNAlgorithm(Algorithm):
    """What both outer loops share."""

    learner: QLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    gradient_steps: int = eqx.field(static=True)
    lr: Array
    max_gradient_norm: Array

    def __init__(self, config: MAMLDQN, spec: Spec):
        rule = DQNSteps(
            batch=config.inner_batch, double=config.double, first_order=config.first_order, rule=SGD(jnp.array(config.inner_lr)),
            γ=jnp.array(config.gamma), reward_scale=jnp.array(config.reward_scale),
            copy_every=jnp.array(config.inner_copy_every), max_norm=jnp.array(config.max_gradient_norm),
        )  # fmt: skip
        self.learner = QLearner(
            spec=spec, hidden=config.hidden, duelling=False, steps=config.inner_steps,
            capacity=config.inner_rounds * config.streams * spec.episode_steps, rule=rule, sees_shaped=config.sees_shaped,
            epsilon=jnp.array(config.last_epsilon), temperature=jnp.array(config.temperature) if config.outer == "return" else None,
        )  # fmt: skip
        self.layout = Layout(config.inner_rounds + 1, config.streams, spec.episode_steps, episodes=1)
        self.spec, self.tasks, self.gradient_steps = spec, config.tasks, config.gradient_steps
        self.lr, self.max_gradient_norm = jnp.array(config.lr), jnp.array(config.max_gradient_norm)

    def test_layout(self, episodes: int | None) -> Layout:
        """Rounds beyond those trained for push the oldest experience out of the task's buffer."""
        return rounds_for(self.layout, episodes)

    @property
    def floats_per_task(self) -> int:
        """Activations of one layer."""
        rows = self.layout.rounds * self.layout.streams * self.layout.steps
        return rows * max(self.learner.hidden, default=1)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.scale_by_adam())

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        normaliser = state.theta.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        after, metrics = self.descended(state, lifetime, key)
        # Only now: the networks were evaluated, and the returns earned, with the normaliser that collected.
        theta = dataclasses.replace(after.theta, normaliser=normaliser)
        return dataclasses.replace(after, theta=theta), metrics

    def descended(
        self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        """The state after `gradient_steps` on the outer objective."""
        raise NotImplementedError


# --- td ----------------------------------------------------------------------------------------


class Seen(eqx.Module):
    """One lifetime, as rows [K, N·T]."""

    rows: Transition
    """With the reward that training maximises: as a query."""
    reward: Float[Array, "..."]
    """The one that the learner sees: that of a support."""
    valid: Bool[Array, "..."]


class Training(eqx.Module):
    """`TrainState.aux`"""

    target: QNetwork
    """θ̄"""
    lifetimes: RingBuffer
    """Of `Seen`."""
    env_steps: Array
    gradient_steps: Array


class ByTDError(MAMLDQNAlgorithm):
    """Outer steps on the TD error of the query, of lifetimes old and new; collects ε-greedily."""

    meta_batch: int = eqx.field(static=True)
    lifetimes: int = eqx.field(static=True)
    copy_every: Array
    exploring: Schedule

    def __init__(self, config: MAMLDQN, spec: Spec):
        super().__init__(config, spec)
        self.meta_batch, self.lifetimes = config.meta_batch, config.lifetimes
        self.copy_every = jnp.array(config.copy_every)
        self.exploring = Schedule.of(config.epsilon, config.last_epsilon, config.epsilon_steps)

    def init(self, key: Key[Array, ""]) -> TrainState:
        state = super().init(key)
        k, rows = self.layout.rounds, self.layout.streams * self.layout.steps
        one = jax.tree.map(
            lambda x: jnp.zeros((k, rows, *x.shape), x.dtype),
            Seen(blank(self.spec), jnp.zeros(()), jnp.array(False)),
        )
        zero = jnp.zeros((), jnp.int32)
        aux = Training(state.theta.q, RingBuffer.of(one, self.lifetimes), zero, zero)
        return dataclasses.replace(state, aux=aux)

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        epsilon = self.exploring(state.aux.env_steps)
        return Behaviour(dataclasses.replace(state.theta, exploration=Exploration(epsilon)))

    def descended(
        self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        rounds, aux = lifetime.rounds, state.aux
        seen = Seen(transitions(rounds), self.learner.seen_reward(rounds), rounds.valid)
        seen = jax.tree.map(lambda x: x.reshape(*x.shape[:2], -1, *x.shape[4:]), seen)
        lifetimes = aux.lifetimes.add(seen, jnp.ones(self.tasks, bool))
        trained, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        chunk = chunk_size(self.meta_batch, self.floats_per_task)

        def step(carry: Any, key: Key[Array, ""]) -> tuple[Any, Metrics]:
            params, target, opt_state, number = carry
            k_draw, k_adapt = jax.random.split(key)
            data = lifetimes.sample(k_draw, self.meta_batch), jax.random.split(k_adapt, self.meta_batch)
            loss = lambda params, one: self.loss(eqx.combine(params, frozen), target, *one)  # noqa: E731
            gradient, metrics = mean_gradient(loss, params, data, chunk)
            direction, opt_state = self.optimizer.update(gradient, opt_state)
            params, number = trees.add(params, trees.scale(-self.lr, direction)), number + 1
            target = renewed(target, params.q, number, self.copy_every)
            return (params, target, opt_state, number), metrics | {"gradient_norm": optax.tree.norm(gradient)}

        start = trained, aux.target, state.opt_state, aux.gradient_steps
        steps = jax.random.split(key, self.gradient_steps)
        (trained, target, opt_state, number), metrics = jax.lax.scan(step, start, steps)
        aux = Training(target, lifetimes, aux.env_steps + rounds.valid.sum(), number)
        after = TrainState(eqx.combine(trained, frozen), opt_state, state.key, state.updates, aux)
        return after, jax.tree.map(jnp.mean, metrics)

    def loss(
        self, theta: QTheta, target: QNetwork, seen: Seen, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """The TD error of every round but the first after adaptation to those before it: of ONE task."""

        def adapted(q: QNetwork) -> QNetwork:
            """After each round but the last: leaves [K − 1, ...]."""

            # What a round computes is computed again on the way back, so that one round's activations are held at a time.
            @jax.checkpoint
            def after_round(fast: QFast, inputs: Any) -> tuple[QFast, QNetwork]:
                k, rows, valid = inputs
                fast = self.learner.trained(theta, fast, rows, valid, jax.random.fold_in(key, k))
                return fast, fast.training.q

            rounds = self.layout.rounds - 1
            support = dataclasses.replace(seen.rows, reward=seen.reward), seen.valid
            inputs = jnp.arange(rounds), *trees.index(support, slice(rounds))
            return jax.lax.scan(after_round, self.learner.begin_from(q), inputs)[1]

        def error(q: QNetwork, judge: QNetwork, rows: Transition, valid: Array) -> Float[Array, ""]:
            one = lambda row: self.learner.rule.error(q, judge, row, theta.normaliser)  # noqa: E731
            return valid_mean(jax.vmap(one)(rows), valid)

        q, judge = adapted(theta.q), adapted(target)  # which is no function of θ
        query = trees.index((seen.rows, seen.valid), slice(1, None))
        loss = jax.vmap(error)(q, judge, *query).mean()
        before = jax.vmap(error, (None, 0, 0, 0))(theta.q, judge, *query).mean()
        return loss, {"td_loss": loss, "td_loss_before_adaptation": before}


# --- return ------------------------------------------------------------------------------------


class ByReturn(MAMLDQNAlgorithm):
    """Clipped policy-gradient steps on the last rounds of what was just collected, by softmax(Q/τ)."""

    clip: Array

    def __init__(self, config: MAMLDQN, spec: Spec):
        super().__init__(config, spec)
        self.clip = jnp.array(config.clip)

    def descended(
        self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]
    ) -> tuple[TrainState, Metrics]:
        params, frozen = eqx.partition(state.theta, self.learner.trainable(state.theta))
        last = jax.tree.map(lambda x: x[:, -1], lifetime.rounds).for_outer_loop()
        γ, λ = self.learner.rule.γ, jnp.array(1.0)
        advantage = standardise(jax.vmap(lambda rows: linear_advantages(rows, γ, λ))(last), last.valid)
        objective = clipped_objective(self.learner, self.layout, frozen, self.clip)
        params, opt_state, metrics = epochs_over_tasks(
            objective, params, state.opt_state, self.optimizer, self.lr, (lifetime, advantage, jnp.ones(self.tasks)), key,
            epochs=self.gradient_steps, minibatches=1, floats_per_task=self.floats_per_task,
        )  # fmt: skip
        after = TrainState(eqx.combine(params, frozen), opt_state, state.key, state.updates, state.aux)
        return after, metrics
