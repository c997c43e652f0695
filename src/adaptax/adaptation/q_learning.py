"""Q-learning, on one task or on many at once: DQN's steps on a buffer of transitions, and the learner that acts by a Q-network.

Mnih et al. 2015 (DQN); van Hasselt et al. 2016 (double); Wang et al. 2016 (duelling).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax import trees
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.buffers import RingBuffer
from adaptax.errors import AdaptaxError
from adaptax.estimators.q_learning import epsilon_greedy, greedy, huber, td_error
from adaptax.estimators.transitions import Transition, blank, transitions
from adaptax.learner import Frozen, Learner
from adaptax.networks.distributions import Categorical
from adaptax.networks.encoding import observation_size
from adaptax.networks.normaliser import Normaliser
from adaptax.networks.q_network import QNetwork
from adaptax.types import Discrete, Out, Spec, Step


class QState(eqx.Module):
    """A Q-network in training."""

    q: QNetwork
    target: QNetwork
    rule: Any
    """The update rule's state."""
    steps: Int[Array, ""]
    """Gradient steps taken."""


def renewed(target: QNetwork, q: QNetwork, steps: Int[Array, ""], copy_every: Int[Array, ""]) -> QNetwork:
    """The target network after so many steps: a copy of q at every `copy_every`-th, else as it was."""
    return trees.where(steps % copy_every == 0, q, target)


class TDLoss(eqx.Module):
    """The temporal-difference error of transitions against a target network, as a loss."""

    double: bool = eqx.field(static=True)
    γ: Array
    reward_scale: Array
    """What rewards are multiplied by."""

    def loss(
        self, q: QNetwork, target: QNetwork, rows: Transition, normaliser: Normaliser
    ) -> Float[Array, ""]:
        """Huber's, of the errors of rows [n], averaged."""
        return jax.vmap(lambda row: self.error(q, target, row, normaliser))(rows).mean()

    def error(
        self, q: QNetwork, target: QNetwork, row: Transition, normaliser: Normaliser
    ) -> Float[Array, ""]:
        """The loss of one transition."""
        row = dataclasses.replace(row, reward=self.reward_scale * row.reward)
        x, next_x = normaliser.observation(row.obs), normaliser.observation(row.next_obs)
        return huber(td_error(q, target, row, x, next_x, self.γ, self.double))


class DQNSteps(TDLoss):
    """Steps on the temporal-difference error of minibatches, against a target network that is copied every so many steps.

    Differentiable in the network that they begin with, through the steps themselves: the experience and the targets are constants.
    """

    batch: int = eqx.field(static=True)
    first_order: bool = eqx.field(static=True)
    """Gradients count as constants."""
    rule: UpdateRule
    """One that learns nothing itself."""
    copy_every: Array
    """int32, steps."""
    max_norm: Array
    """A gradient's Euclidean norm is scaled down to this."""

    def begin(self, q: QNetwork) -> QState:
        """Nothing learned beyond q, which is its own target."""
        return QState(q, q, self.rule.begin(None, q), jnp.zeros((), jnp.int32))

    def __call__(
        self, state: QState, buffer: RingBuffer, normaliser: Normaliser, steps: int, key: Key[Array, ""]
    ) -> tuple[QState, Float[Array, ""]]:
        """The network after so many steps on the buffer, whose rows are `Transition`; and the mean loss."""

        def step(state: QState, key: Key[Array, ""]) -> tuple[QState, Array]:
            rows = jax.lax.stop_gradient(buffer.sample(key, self.batch))
            loss, gradient = jax.value_and_grad(self.loss)(state.q, state.target, rows, normaliser)
            if self.first_order:
                gradient, loss = jax.lax.stop_gradient((gradient, loss))
            Δ, rule = self.rule.step(None, state.rule, state.q, trees.within(self.max_norm, gradient), loss)
            q, number = trees.add(state.q, Δ), state.steps + 1
            return QState(q, renewed(state.target, q, number, self.copy_every), rule, number), loss

        state, losses = jax.lax.scan(step, state, jax.random.split(key, steps))
        return state, losses.mean()


class Schedule(eqx.Module):
    """ε, which falls linearly."""

    first: Float[Array, ""]
    last: Float[Array, ""]
    steps: Float[Array, ""]
    """Environment steps over which it falls."""

    def __call__(self, env_steps: Int[Array, ""]) -> Float[Array, ""]:
        """After so many environment steps."""
        share = jnp.minimum(env_steps / self.steps, 1.0)
        return self.first + share * (self.last - self.first)

    @staticmethod
    def of(first: float, last: float, steps: int) -> Schedule:
        """From numbers."""
        return Schedule(jnp.array(first), jnp.array(last), jnp.array(float(steps)))


class Exploration(Frozen):
    """How often an action is taken at random."""

    epsilon: Float[Array, ""]


class QTheta(eqx.Module):
    q: QNetwork
    exploration: Exploration
    normaliser: Normaliser


class QFast(eqx.Module):
    """What a task has made of the network, and all that was seen of it."""

    training: QState
    buffer: RingBuffer


class QPolicy(Learner):
    """Acts ε-greedily by its Q-network; what `trained` makes of it on each task is for others to say."""

    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    duelling: bool = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    """Transitions of a task that are kept."""
    sees_shaped: bool = eqx.field(static=True)
    """A task's shaped reward, where there is one, is what adaptation learns from; else what the task pays."""
    epsilon: Array
    """ε in a new task."""
    temperature: Array | None
    """Actions are drawn from softmax(Q/temperature), whose probabilities have derivatives; None: ε-greedily."""

    def init(self, key: Key[Array, ""]) -> QTheta:
        size = observation_size(self.spec)
        q = QNetwork(size, self.hidden, self.actions.n, key, self.duelling)
        return QTheta(q, Exploration(jnp.asarray(self.epsilon)), Normaliser.of(size))

    @property
    def actions(self) -> Discrete:
        assert isinstance(self.spec.action, Discrete)
        return self.spec.action

    def begin(self, theta: QTheta, key, features) -> QFast | None:
        return self.begin_from(theta.q)

    def begin_from(self, q: QNetwork) -> QFast:
        """The fast state of a task that begins with this network."""
        return QFast(self.untrained(q), RingBuffer.of(blank(self.spec), self.capacity))

    def untrained(self, q: QNetwork) -> QState:
        """Nothing learned beyond q, which is its own target."""
        return QState(q, q, None, jnp.zeros((), jnp.int32))

    def act(self, theta: QTheta, fast: QFast | None, memory, step, key):
        q = theta.q if fast is None else fast.training.q
        values = q(theta.normaliser.observation(step.obs))
        if self.temperature is None:
            dist = epsilon_greedy(values, theta.exploration.epsilon, step.action_mask)
        else:
            dist = Categorical(greedy(values / self.temperature, step.action_mask))
        return Out(dist, values.max()), memory

    def unroll(self, theta, fast, memory, steps, stream_key):
        return jax.vmap(lambda step: self.act(theta, fast, memory, step, stream_key)[0])(steps), memory

    def adapt(self, theta: QTheta, fast: QFast | None, batch: Step, key) -> QFast | None:
        if fast is None:
            return None
        rows = dataclasses.replace(transitions(batch), reward=self.seen_reward(batch))
        return self.trained(theta, fast, rows, batch.valid, key)

    def seen_reward(self, rows: Step) -> Float[Array, "..."]:
        """What adaptation learns from."""
        return rows.training_reward if self.sees_shaped else rows.reward

    def trained(
        self, theta: QTheta, fast: QFast, rows: Transition, valid: Bool[Array, "..."], key: Key[Array, ""]
    ) -> QFast:
        """After learning from all that has been seen, rows [...] last."""
        raise NotImplementedError


class QLearner(QPolicy):
    """Trains its Q-network further on each task by `steps` DQN steps after a round; 0: not at all."""

    steps: int = eqx.field(static=True)
    rule: DQNSteps

    def begin(self, theta: QTheta, key, features) -> QFast | None:
        return self.begin_from(theta.q) if self.steps else None

    def untrained(self, q: QNetwork) -> QState:
        return self.rule.begin(q)

    def trained(
        self, theta: QTheta, fast: QFast, rows: Transition, valid: Bool[Array, "..."], key: Key[Array, ""]
    ) -> QFast:
        buffer = remembered(fast.buffer, rows, valid)
        state, _ = self.rule(fast.training, buffer, theta.normaliser, self.steps, key)
        return QFast(state, buffer)


def remembered(buffer: RingBuffer, rows: Transition, valid: Bool[Array, "..."]) -> RingBuffer:
    """With the valid ones of rows [...] added."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[valid.ndim :]), (rows, valid))
    return buffer.add(*flat)


def require_choices(spec: Spec, method: str) -> None:
    """AdaptaxError where actions are not one choice among a few."""
    if not isinstance(spec.action, Discrete):
        raise AdaptaxError(
            f"{method} compares the values of single actions, and '{spec.name}' asks for something else than one choice; "
            "take pearl or rl2."
        )
