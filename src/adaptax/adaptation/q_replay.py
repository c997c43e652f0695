"""Q-learning on a new task together with the experience of past ones: what is stored of them, what is drawn, and the learner.

Riemer et al. 2019 (arXiv 1810.11910). Inside a task, after each round of episodes: n updates, each on s batches of k minibatches of
transitions, of which the last is of the task's own buffer and the others are of the store.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from adaptax import trees
from adaptax.adaptation.experience_replay import Loss
from adaptax.adaptation.q_learning import QFast, QPolicy, QState, QTheta, TDLoss, remembered, renewed
from adaptax.adaptation.relevance import Selector, selected
from adaptax.buffers import Reservoir, RingBuffer
from adaptax.estimators.transitions import Transition, blank
from adaptax.learner import Frozen
from adaptax.networks.q_network import QNetwork


class Store(Frozen):
    """Experience of past tasks."""

    transitions: Reservoir


class ReplayTheta(QTheta):
    store: Store
    selector: Selector | None
    """None: all that is stored is as likely to be drawn."""


class ReplayLearner(QPolicy):
    """Trains its Q-network on each task by `inner_updates` after a round, together with the store; how a step is made of what is
    drawn, `moved`, is for others to say."""

    inner_updates: int = eqx.field(static=True)
    batches: int = eqx.field(static=True)
    """s"""
    minibatches: int = eqx.field(static=True)
    """k"""
    batch: int = eqx.field(static=True)
    """Transitions of a minibatch."""
    stored: int = eqx.field(static=True)
    """Room in the store."""
    selects: bool = eqx.field(static=True)
    candidates: int = eqx.field(static=True)
    τ: Array
    td: TDLoss
    copy_every: Array

    def init(self, key: Key[Array, ""]) -> ReplayTheta:
        k_q, k_selector = jax.random.split(key)
        theta = super().init(k_q)
        store = Store(Reservoir.of(blank(self.spec), self.stored))
        selector = Selector(self.spec, 32, 16, k_selector) if self.selects else None
        return ReplayTheta(theta.q, theta.exploration, theta.normaliser, store, selector)

    def trained(
        self,
        theta: ReplayTheta,
        fast: QFast,
        rows: Transition,
        valid: Bool[Array, "..."],
        key: Key[Array, ""],
    ) -> QFast:
        buffer = remembered(fast.buffer, rows, valid)

        def update(state: QState, key: Key[Array, ""]) -> tuple[QState, None]:
            loss = lambda q, rows: self.td.loss(q, state.target, rows, theta.normaliser)  # noqa: E731
            q = self.moved(theta, loss, state.q, self.drawn(theta, buffer, key))
            number = state.steps + 1
            return QState(q, renewed(state.target, q, number, self.copy_every), None, number), None

        state, _ = jax.lax.scan(update, fast.training, jax.random.split(key, self.inner_updates))
        return QFast(state, buffer)

    def drawn(self, theta: ReplayTheta, buffer: RingBuffer, key: Key[Array, ""]) -> Transition:
        """Rows [s, k, batch] of the store, the last minibatch of a batch of the task; until anything is stored, all of the task."""
        s, k, n = self.batches, self.minibatches, self.batch
        k_new, k_old, k_instead = jax.random.split(key, 3)
        new, store, number = buffer.sample(k_new, s * n), theta.store.transitions, s * (k - 1) * n
        if theta.selector is None:
            old = store.sample(k_old, number)
        else:
            old = selected(
                theta.selector, store, new, theta.normaliser, number, self.candidates, self.τ, k_old
            )
        old = trees.where(store.size > 0, old, buffer.sample(k_instead, number))
        shaped = lambda rows, k: jax.tree.map(lambda x: x.reshape(s, k, n, *x.shape[1:]), rows)  # noqa: E731
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), shaped(old, k - 1), shaped(new, 1))

    def moved(self, theta: ReplayTheta, loss: Loss, q: QNetwork, batches: Transition) -> QNetwork:
        """After one update on rows [s, k, batch], whose minibatches have this loss."""
        raise NotImplementedError
