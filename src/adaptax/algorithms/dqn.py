"""DQN: deep Q-learning with experience replay and a target network.

Mnih et al. 2015 (Nature 518). One network learns, from transitions of any age, what each action is worth:

    L(θ) = E_{(s, a, r, s') ~ replay} [ H( Q_θ(s, a) − y ) ],     y = r + γ (1 − terminated) max_{a'} Q_θ̄(s', a')

θ̄ is a copy of θ that is renewed every `copy_every` steps, H Huber's loss. Options: *double* (van Hasselt et al. 2016): Q_θ chooses
a', Q_θ̄ says what it is worth; *duelling* (Wang et al. 2016): Q = V + A − mean A. Behaviour is ε-greedy, with ε falling linearly
over environment steps.

On a family of one task this is ordinary DQN. On a family of many it is the multi-task learner among Q-learners: one
network for all tasks. With `fine_tune_steps` it goes on learning on each new task from what it sees of it; after 0
meta-updates that is DQN from scratch.

Good at: few environment steps where actions are few. Bad at: tasks that contradict each other (it has no memory and, without
fine-tuning, no adaptation), continuous actions, rewards too sparse for ε-greedy exploration.

Where we depart from the paper: vectors instead of frames; Adam instead of RMSprop, with a step size that may fall; hundreds of
steps are collected between blocks of gradient steps, instead of a few frames between single ones; observations at unit scale.
"""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax.adaptation.q_learning import (
    DQNSteps,
    Exploration,
    QLearner,
    QState,
    Schedule,
    remembered,
    require_choices,
)
from adaptax.adaptation.update_rules import Adam
from adaptax.algorithms.base import ROUNDS, Algorithm, require_environments, rounds_for
from adaptax.buffers import RingBuffer
from adaptax.estimators.transitions import blank, transitions
from adaptax.networks.q_network import QNetwork
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, TrainState

RECENT = 20
"""The longest episodes of a new task that its buffer has room for."""


@dataclasses.dataclass(frozen=True)
class DQN:
    """DQN over tasks: experience replay, a target network, ε-greedy; optionally fine-tuned on the new task."""

    tasks: int = 4
    """Tasks in one update, each for as many steps as its longest episode."""
    hidden: tuple[int, ...] = (128, 128)
    """Units of the network's hidden layers."""
    double: bool = True
    """The network itself chooses the next action, which the target network judges."""
    duelling: bool = False
    """The network says V and A apart."""
    lr: float = 5e-4
    """Adam's step size at first."""
    anneal_steps: int = 0
    """Environment steps over which the step size falls linearly to a twentieth; 0: it does not."""
    gamma: float = 0.99
    """Discount γ within an episode."""
    capacity: int = 200_000
    """Transitions kept, of all tasks together, the newest."""
    batch: int = 128
    """Transitions of one gradient step."""
    gradient_steps: int = 500
    """In one update."""
    copy_every: int = 500
    """Gradient steps between copies to the target network."""
    epsilon: float = 1.0
    """ε at first."""
    last_epsilon: float = 0.02
    """ε from `epsilon_steps` on, and on new tasks."""
    epsilon_steps: int = 20_000
    """Environment steps over which ε falls."""
    fine_tune_steps: int = 0
    """Gradient steps after each episode of a new task; 0: none."""
    fine_tune_copy_every: int = 25
    """Of these, between copies to the task's own target network."""
    sees_shaped: bool = False
    """On new tasks too it learns from the shaped reward, where the family gives one; else from what the task pays."""
    max_gradient_norm: float = 10.0
    """The gradient's Euclidean norm is scaled down to this."""

    def build(self, spec: Spec) -> DQNAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where there is no choice of actions."""
        require_environments(spec, "DQN")
        require_choices(spec, "DQN")
        return DQNAlgorithm(self, spec)


class Training(eqx.Module):
    """`TrainState.aux`"""

    target: QNetwork
    buffer: RingBuffer
    env_steps: Array
    gradient_steps: Array


class DQNAlgorithm(Algorithm):
    learner: QLearner
    learning: DQNSteps
    """The steps of meta-training; the learner's own are those on a new task."""
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    gradient_steps: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)
    exploring: Schedule
    """ε after so many environment steps."""
    anneal_steps: Array
    """Infinite where nothing anneals."""

    def __init__(self, config: DQN, spec: Spec):
        adam = Adam(jnp.array(config.lr), jnp.array(0.9), jnp.array(0.999))
        rule = DQNSteps(
            batch=config.batch, double=config.double, first_order=True, rule=adam, γ=jnp.array(config.gamma),
            reward_scale=jnp.array(1.0), copy_every=jnp.array(config.copy_every), max_norm=jnp.array(config.max_gradient_norm),
        )  # fmt: skip
        self.learning = rule
        fine_tuning = dataclasses.replace(rule, copy_every=jnp.array(config.fine_tune_copy_every))
        self.learner = QLearner(
            spec=spec, hidden=config.hidden, duelling=config.duelling, steps=config.fine_tune_steps,
            capacity=min(config.capacity, RECENT * spec.episode_steps), rule=fine_tuning, epsilon=jnp.array(config.last_epsilon),
            sees_shaped=config.sees_shaped, temperature=None,
        )  # fmt: skip
        self.spec, self.tasks, self.capacity = spec, config.tasks, config.capacity
        self.layout = Layout(1, 1, spec.episode_steps, episodes=None)
        self.gradient_steps = config.gradient_steps
        self.exploring = Schedule.of(config.epsilon, config.last_epsilon, config.epsilon_steps)
        self.anneal_steps = jnp.array(float(config.anneal_steps or math.inf))

    @property
    def collector(self) -> QLearner:
        """One that does not adapt: each task gives one round."""
        return dataclasses.replace(self.learner, steps=0)

    def test_layout(self, episodes: int | None) -> Layout:
        """A round is an episode."""
        return rounds_for(self.layout, episodes, ROUNDS if self.learner.steps else 1)

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_run = jax.random.split(key)
        theta, zero = self.learner.init(k_theta), jnp.zeros((), jnp.int32)
        begun = self.learning.begin(theta.q)
        aux = Training(begun.target, RingBuffer.of(blank(self.spec), self.capacity), zero, zero)
        return TrainState(theta, begun.rule, k_run, zero, aux)

    def annealed(self, env_steps: Array) -> DQNSteps:
        """The rule after so many environment steps."""
        left = jnp.maximum(1.0 - env_steps / self.anneal_steps, 0.05)
        return eqx.tree_at(lambda rule: rule.rule.lr, self.learning, replace_fn=lambda lr: left * lr)

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        epsilon = self.exploring(state.aux.env_steps)
        return Behaviour(dataclasses.replace(state.theta, exploration=Exploration(epsilon)))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        rows, aux = lifetime.rounds, state.aux
        buffer = remembered(aux.buffer, transitions(rows), rows.valid)
        normaliser = state.theta.normaliser.update(rows, jnp.zeros_like(rows.reward))
        before = QState(state.theta.q, aux.target, state.opt_state, aux.gradient_steps)
        after, loss = self.annealed(aux.env_steps)(before, buffer, normaliser, self.gradient_steps, key)
        theta = dataclasses.replace(state.theta, q=after.q, normaliser=normaliser)
        aux = Training(after.target, buffer, aux.env_steps + rows.valid.sum(), after.steps)
        episodes = (rows.valid & rows.first).sum()
        # Of an episode, where the caller's would be that of as many as there were steps for.
        earned = jnp.where(rows.valid, rows.reward, 0.0).sum() / episodes
        metrics = {"return": earned, "td_loss": loss, "epsilon": self.exploring(state.aux.env_steps)}
        return TrainState(theta, after.rule, state.key, state.updates, aux), metrics
