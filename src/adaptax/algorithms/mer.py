"""MER: meta-experience replay, in reinforcement learning.

Riemer et al. 2019 (arXiv 1810.11910). A growing but bounded store keeps experience of all tasks that ever were. Each step on the
present task is taken together with steps on past ones, one after the other, and the parameters go a part of that way: this lowers
the loss of both, and aligns their gradients, so that learning the one disturbs the other less (`adaptation/experience_replay.py`).

Inside a task, after each round of episodes, n updates of s batches of k minibatches of transitions, of which the last is of the
present task and the others of the store (algorithm 1):

    θ_{i,0} = θ_i,   θ_{i,j} = θ_{i,j−1} − α ∇L_TD(θ_{i,j−1}; B_ij)   j = 1..k,   θ_{i+1} = θ_i + β (θ_{i,k} − θ_i),
    θ ← θ_1 + γ (θ_{s+1} − θ_1)

Outside, θ goes the share ε of the way to the mean of what the tasks of a meta-update have adapted it to, and their transitions are
offered to the store, a reservoir in which each that ever was is kept with the same probability. With one task in a meta-update and
ε = 1 that is continual learning: tasks that come one after the other and never again. With several it is an initial network for new
tasks, whose few transitions are learned from together with many old ones.

The old ones are drawn by a selector that has learned on past tasks which of them are as if of a task of which little has been seen
(`adaptation/relevance.py`), or, `selection` "uniform", all alike, as in the paper.

Good at: sequences of tasks that a network could hold together, but would forget one by one; few environment steps. Bad at: tasks
that contradict each other and look alike, where little of a task does not tell which it is; continuous actions.

Departures: minibatches where the paper has single examples; the reservoir has the present task's transitions when it is over, and
until then they have a buffer of their own, from which the last minibatch is drawn.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Key

from adaptax import keys
from adaptax.adaptation.experience_replay import Loss, towards, within_and_across_batches
from adaptax.adaptation.q_learning import Exploration, QFast, Schedule, TDLoss, require_choices
from adaptax.adaptation.q_replay import ReplayLearner, ReplayTheta, Store
from adaptax.adaptation.relevance import Selector, SelectorSteps
from adaptax.algorithms.base import Algorithm, require_environments, rounds_for
from adaptax.buffers import RingBuffer
from adaptax.chunks import chunk_size, map_tasks
from adaptax.disk_reservoir import RunStore
from adaptax.errors import AdaptaxError
from adaptax.estimators.transitions import Transition, blank, transitions
from adaptax.networks.q_network import QNetwork
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, Step, TrainState


@dataclasses.dataclass(frozen=True)
class MER:
    """MER: steps on a task's experience and on that of all tasks before it, aligned."""

    tasks: int = 8
    """Tasks in one meta-update."""
    rounds: int = 3
    """Rounds of experience of a task; the learner adapts after each."""
    streams: int = 1
    """Episodes of a round."""
    inner_updates: int = 20
    """Updates after a round, each of `batches` times `minibatches` gradient steps."""
    batches: int = 2
    """s"""
    minibatches: int = 2
    """k, of which one is of the present task."""
    batch: int = 32
    """Transitions of a minibatch."""
    lr: float = 0.4
    """α, of plain gradient descent."""
    within: float = 0.5
    """β, the share of the way that a batch goes."""
    across: float = 1.0
    """γ of the paper, the share that all batches of an update go."""
    outer_step: float = 0.2
    """ε, the share of the way from θ to the mean of what the tasks made of it."""
    copy_every: int = 1
    """Updates between copies to a task's target network."""
    capacity: int = 20_000
    """Transitions in the store, of all tasks together."""
    on_disk: int = 0
    """Transitions in a store in the run's folder, for experience that outgrows memory; `capacity` of them, others after each
    meta-update, are in memory. 0: there is none."""
    selection: Literal["learned", "uniform"] = "learned"
    """How old transitions are drawn."""
    candidates: int = 4
    """learned: times as many are looked at. Where tasks of the present kind are rarer than one in so many, others are drawn too."""
    temperature: float = 1.0
    """learned: τ of the draw among them."""
    selector_lr: float = 3e-3
    """learned: Adam's step size for the selector."""
    selector_steps: int = 50
    """learned: its gradient steps in a meta-update."""
    recent: int = 20
    """Longest episodes of a task that its own buffer has room for."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of the network's hidden layers."""
    double: bool = True
    """The network itself chooses the next action, which the target network judges."""
    gamma: float = 0.95
    """Discount within an episode."""
    reward_scale: float = 0.05
    """What rewards are multiplied by: values of about 1 keep gradients at a length that suits α."""
    sees_shaped: bool = False
    """It learns from the shaped reward, where the family gives one; else from what the task pays."""
    epsilon: float = 1.0
    """ε-greedy behaviour at first."""
    last_epsilon: float = 0.05
    """From `epsilon_steps` on, and on new tasks."""
    epsilon_steps: int = 20_000
    """Environment steps over which it falls."""

    def build(self, spec: Spec) -> MERAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where there is no choice of actions."""
        require_environments(spec, "MER")
        require_choices(spec, "MER")
        if 0 < self.on_disk < self.capacity:
            raise AdaptaxError(
                f"on_disk is {self.on_disk:,} and capacity {self.capacity:,}: the store on disk must be the larger one; raise "
                "on_disk, or leave it out."
            )
        return MERAlgorithm(self, spec)


class MERLearner(ReplayLearner):
    """Goes a part of the way that single steps on old and new minibatches in turn have led."""

    α: Array
    β: Array
    γ: Array
    """The share that all batches go; the discount is the loss's."""

    def moved(self, theta: ReplayTheta, loss: Loss, q: QNetwork, batches: Transition) -> QNetwork:
        return within_and_across_batches(loss, q, batches, self.α, self.β, self.γ)


class Met(eqx.Module):
    """`TrainState.aux`."""

    env_steps: Array
    offered: tuple[Transition, Array] | None
    """Rows [n] of the last meta-update, and whether they are valid, which the store on disk is to be offered; None: there is
    none."""


class MERAlgorithm(Algorithm):
    learner: MERLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)
    selecting: SelectorSteps
    on_disk: int = eqx.field(static=True)
    outer_step: Array
    exploring: Schedule

    def __init__(self, config: MER, spec: Spec):
        td = TDLoss(config.double, jnp.array(config.gamma), jnp.array(config.reward_scale))
        self.learner = MERLearner(
            spec=spec, hidden=config.hidden, duelling=False, capacity=config.recent * spec.episode_steps,
            sees_shaped=config.sees_shaped, epsilon=jnp.array(config.last_epsilon), temperature=None,
            inner_updates=config.inner_updates, batches=config.batches, minibatches=config.minibatches, batch=config.batch,
            stored=config.capacity, td=td,
            selects=config.selection == "learned", candidates=config.candidates, τ=jnp.array(config.temperature),
            α=jnp.array(config.lr), β=jnp.array(config.within), γ=jnp.array(config.across), copy_every=jnp.array(config.copy_every),
        )  # fmt: skip
        self.spec, self.tasks = spec, config.tasks
        self.layout = Layout(config.rounds, config.streams, spec.episode_steps, episodes=1)
        rows = config.batches * config.batch
        self.selecting = SelectorSteps(config.selector_steps, rows, jnp.array(config.selector_lr))
        self.on_disk, self.outer_step = config.on_disk, jnp.array(config.outer_step)
        self.exploring = Schedule.of(config.epsilon, config.last_epsilon, config.epsilon_steps)

    def test_layout(self, episodes: int | None) -> Layout:
        return rounds_for(self.layout, episodes)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Of the selector; the networks that act are not trained by derivatives of anything outside the tasks."""
        return self.selecting.optimizer

    def init(self, key: Key[Array, ""]) -> TrainState:
        k_theta, k_run = jax.random.split(key)
        theta, zero = self.learner.init(k_theta), jnp.zeros((), jnp.int32)
        opt_state = self.optimizer.init(eqx.filter(theta.selector, eqx.is_array))
        return TrainState(theta, opt_state, k_run, zero, aux=Met(zero, self.nothing_offered()))

    def nothing_offered(self) -> tuple[Transition, Array] | None:
        if not self.on_disk:
            return None
        n = self.tasks * self.layout.rounds * self.layout.streams * self.layout.steps
        blanks = RingBuffer.of(blank(self.spec), n)
        return blanks.rows, jnp.zeros(n, bool)

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        return Behaviour(
            dataclasses.replace(state.theta, exploration=Exploration(self.exploring(state.aux.env_steps)))
        )

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        theta, rounds = state.theta, lifetime.rounds
        chunk = chunk_size(self.tasks, self.learner.batch * max(self.learner.hidden, default=1))
        adapted = map_tasks(lambda one: self.adapted(theta, one), lifetime, chunk)
        mean = jax.tree.map(lambda φ: φ.mean(0), adapted)
        distance = optax.tree.norm(optax.tree.sub(mean, theta.q))

        rows = dataclasses.replace(transitions(rounds), reward=self.learner.seen_reward(rounds))
        rows, valid = jax.tree.map(lambda x: x.reshape(self.tasks, -1, *x.shape[4:]), (rows, rounds.valid))
        k_store, k_selector = jax.random.split(key)
        selector, opt_state, metrics = self.selector_trained(state, rows, valid, k_selector)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (rows, valid))
        store = theta.store if self.on_disk else Store(theta.store.transitions.add(*flat, k_store))
        # Only now: networks were trained, and returns earned, with the normaliser that collected.
        normaliser = theta.normaliser.update(rounds, jnp.zeros_like(rounds.reward))
        q = towards(theta.q, mean, self.outer_step)
        theta = dataclasses.replace(theta, q=q, normaliser=normaliser, store=store, selector=selector)
        metrics |= {
            "distance": distance,
            "stored": store.transitions.size,
            "epsilon": self.exploring(state.aux.env_steps),
        }
        met = Met(state.aux.env_steps + rounds.valid.sum(), flat if self.on_disk else None)
        return TrainState(theta, opt_state, state.key, state.updates, met), metrics

    @property
    def keeps_on_disk(self) -> bool:
        return self.on_disk > 0

    @property
    def disk(self) -> RunStore:
        return RunStore(blank(self.spec), self.on_disk, self.learner.stored)

    def kept(self, state: TrainState, folder: Path) -> TrainState:
        """The store on disk is offered what was met, and gives others of its rows to memory."""
        rows, valid = state.aux.offered
        seed = [int(word) for word in jax.random.key_data(state.key)]
        held = self.disk.after(folder / "store", int(state.updates), rows, np.asarray(valid), seed)
        return dataclasses.replace(state, theta=dataclasses.replace(state.theta, store=Store(held)))

    def check_kept(self, state: TrainState, folder: Path) -> None:
        self.disk.check(folder / "store", int(state.updates))

    def adapted(self, theta: ReplayTheta, lifetime: Lifetime) -> QNetwork:
        """What ONE task made of the network in all its rounds."""

        def after_round(fast: QFast, inputs: tuple[Step, Array]) -> tuple[QFast, None]:
            rows, k = inputs
            after = self.learner.adapt(theta, fast, rows, keys.adapt(lifetime.keys, k))
            assert after is not None
            return after, None

        rounds = lifetime.rounds, jnp.arange(self.layout.rounds)
        return jax.lax.scan(after_round, self.learner.begin_from(theta.q), rounds)[0].training.q

    def selector_trained(
        self, state: TrainState, rows: Transition, valid: Bool[Array, "B n"], key: Key[Array, ""]
    ) -> tuple[Selector | None, Any, Metrics]:
        """The selector after steps on the tasks that were just met, as present ones, and the store as it was before them."""
        theta = state.theta
        if theta.selector is None:
            return None, state.opt_state, {}
        one_task = RingBuffer.of(blank(self.spec), valid.shape[1])
        tasks = jax.vmap(one_task.add)(rows, valid)
        selector, opt_state, loss = self.selecting(
            theta.selector, state.opt_state, theta.store.transitions, tasks, theta.normaliser, key
        )
        return selector, opt_state, {"selector_loss": loss}
