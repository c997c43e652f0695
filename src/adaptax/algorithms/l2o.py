"""L2O: learning to optimize. A recurrent network in the optimizer's place trains a random policy on each new task.

Andrychowicz et al. 2016 (arXiv 1606.04474), eqs. 2-3. The network ψ turns gradients into steps; its loss is what the steps lead
to, summed over the whole inner training and not at its end alone:

    θ_{k+1} = θ_k + m_ψ(∇L(θ_k), h_k)        min_ψ  E[ Σ_k L(θ_k) ],   k = 1 … horizon

Meta-training goes by backpropagation through the unrolled inner training, cut every `truncation` steps. `l2o_es.py` trains the same
network without derivatives of it.

    reinforcement learning   L = −J: the gradient of −Σ_k J(θ_k) by each round's own policy gradient, the earlier rounds' sampling
                             held fixed, as clipped steps (PPO); advantages are comparable between rounds, not standardised in each.
    supervised tasks         L is the error of all examples, inside of the support and outside of the queries.

Good at: long adaptation, where hand-made optimizers waste their first steps. Bad at: tasks that a handful of episodes must do,
for it begins from nothing; horizons or networks far from those trained on.

Where we depart from the paper: a gated recurrent unit of one layer instead of two of LSTM; the steps are in the direction of Adam
plus what is learned, on a learned logarithmic scale; the network is also told momenta, the time, and the leaf
(`adaptation/learned_optimizer.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax import keys
from adaptax.adaptation.gradient import FromScratchLearner
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.inner_training import InnerTraining, InnerTrainingAlgorithm
from adaptax.chunks import mean_gradient
from adaptax.estimators.ppo import epochs_over_tasks
from adaptax.outer.unrolled import EveryRound, comparable_advantages, mean_error
from adaptax.types import FewShot, Lifetime, Metrics, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class L2O(InnerTraining):
    """L2O: a learned optimizer, which trains a random policy on each new task."""

    truncation: int = 10
    """Adaptation steps that the meta-gradient looks back."""
    late: float = 0.0
    """The policy after k adaptation steps counts (k/horizon)^late in the objective; 0: each counts alike. A policy that is good too
    early may have stopped trying what later ones could learn from."""
    entropy: float = 0.0
    """Weight of the policy's entropy, in nats, beside advantages of unit size; it falls to zero linearly until the horizon. A
    policy that has stopped trying others has no gradient either that could tell the optimizer so."""
    epochs: int = 4
    """Outer gradient steps on the data of one meta-update."""
    clip: float = 0.2
    """PPO's ε."""
    max_kl_nats: float = 0.05
    """No further step is taken on the data of a meta-update once the policies of all rounds have moved so far in mean KL divergence
    from those that collected."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        return L2OAlgorithm(self, spec, self.learner(spec, self.truncation))


class L2OAlgorithm(InnerTrainingAlgorithm):
    """Inner trainings from their beginning to the horizon in every meta-update, and the gradient through them."""

    epochs: int = eqx.field(static=True)
    objective: EveryRound
    max_kl_nats: Array

    def __init__(self, config: L2O, spec: Spec, learner: FromScratchLearner):
        super().__init__(config, spec, learner, config.horizon)
        if not spec.supervised:  # the round after the last adaptation
            self.layout = dataclasses.replace(self.layout, rounds=config.horizon + 1)
        self.objective = EveryRound(*(jnp.array(x) for x in (config.clip, config.late, config.entropy)))
        self.epochs, self.max_kl_nats = config.epochs, jnp.array(config.max_kl_nats)

    def learn(self, state: TrainState, lifetime: Any, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        learner = self.learner
        params, frozen = eqx.partition(state.theta, learner.trainable(state.theta))
        if isinstance(lifetime, FewShot):

            def error(params: Any, data: FewShot) -> tuple[Array, Metrics]:
                theta = eqx.combine(params, frozen)
                fast = learner.begin(theta, keys.begin(data.keys), None)
                loss, _, metrics = mean_error(learner, theta, data, self.layout.rounds, fast)
                return loss, metrics

            gradient, metrics = mean_gradient(error, params, lifetime, self.chunk)
            return self.descended(state, gradient, metrics)

        def surrogate(params: Any, one_task: tuple[Lifetime, Array]) -> tuple[Array, Metrics]:
            return self.objective.loss(learner, eqx.combine(params, frozen), *one_task, self.layout)

        params, opt_state, metrics = epochs_over_tasks(
            surrogate, params, state.opt_state, self.optimizer, self.lr,
            (lifetime, comparable_advantages(lifetime, learner.γ, learner.λ)), key,
            epochs=self.epochs, minibatches=1, floats_per_task=self.floats_per_task, max_kl_nats=self.max_kl_nats,
        )  # fmt: skip
        theta = eqx.combine(params, frozen).observing(lifetime)
        return TrainState(theta, opt_state, state.key, state.updates), metrics
