"""MRLM: model-based meta-RL, with a model that a few gradient steps fit to the task.

Nagabandi et al. 2019 (GrBAL, arXiv 1803.11347). What is meta-learned is no policy but a model of the environment, from which the
steps that a new task has shown last, its *window* D of at most M, lead to a model of that task:

    θ' = θ − ψ ⊙ ∇L(θ; D)  (k times)            min_{θ, ψ}  E_task L(θ'; the K steps that came next)

L is the negative log-likelihood of next observation, reward and end of the episode (`adaptation/dynamics_model.py`). Behaviour
plans with the task's model (`adaptation/planning.py`). A new task's model is fitted after each episode, or, *online*, every
`adapt_every` steps of one that goes on.

Good at: few environment steps in meta-training, for a model learns from every step, whatever was aimed at; tasks that change
underway. Bad at: rewards that the horizon does not reach; dynamics too hard to predict; and each step costs thousands of
imagined ones.

Where we depart from the paper: the model predicts the reward, which there is a given function of the observation; windows of every
length up to M are trained on, so that few steps help too; step sizes ψ are learned, one for each weight (Li et al. 2017); the
model is fitted again every few steps, where the paper does so at every one; an ensemble, MPPI and CEM beside shooting.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax import trees
from adaptax.adaptation.dynamics_model import ModelRow, Scales, blank_row, model_rows
from adaptax.adaptation.model_based import ModelTheta, PlanningLearner
from adaptax.adaptation.update_rules import SGD, LearnedRates
from adaptax.algorithms.model_based import ModelBased, ModelBasedAlgorithm, Seen
from adaptax.buffers import RingBuffer
from adaptax.estimators.returns import valid_mean
from adaptax.networks.layers import MLP
from adaptax.types import Layout, Lifetime, Metrics, Spec, Step, TrainState

TEST_EPISODES = 3


@dataclasses.dataclass(frozen=True)
class MRLM(ModelBased):
    """MRLM: a meta-learned model of the environment, fitted to the new task by gradient steps; behaviour plans with it."""

    method: ClassVar = "MRLM"

    window: int = 100
    """Steps of a task that its model is fitted to, the newest: M."""
    query: int = 50
    """Steps after them that judge the fitted model in meta-training: K."""
    inner_steps: int = 5
    """Gradient steps of a fit."""
    inner_lr: float = 0.1
    """Their size; where it is learned, at first."""
    learned_inner_lr: bool = True
    """A step size is learned for each weight."""
    inner_max_norm: float = 10.0
    """Gradients of a fit are scaled down to this Euclidean norm."""
    explore: float = 0.0
    """`noise` is at least this until the model has been fitted for the first time: where to plan without knowing the task is to
    stay, and staying shows nothing."""
    adapt_every: int = 0
    """Steps of a new task between fits, which then go on within an episode; 0: it is fitted after each episode."""

    def build(self, spec: Spec) -> MRLMAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where it cannot plan."""
        self.check(spec)
        return MRLMAlgorithm(self, spec)


class ModelFast(eqx.Module):
    networks: MLP
    """The members, fitted: leaves [E, ...]."""
    window: RingBuffer
    """Of `ModelRow`."""


class FittedModelLearner(PlanningLearner):
    """Fits its model to the newest steps of the task after each round."""

    window: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    rule: SGD | LearnedRates
    inner_max_norm: Array
    explore: Array
    """The least that actions stray before the first fit."""

    def new_adaptation(self, networks: MLP, key: Key[Array, ""]) -> Any:
        """ψ, leaves [E, ...]; None where no step size is learned."""
        return jax.vmap(lambda network: self.rule.init(network, key))(networks)

    def begin(self, theta: ModelTheta, key, features) -> ModelFast:
        return ModelFast(theta.networks, RingBuffer.of(blank_row(self.spec), self.window))

    def known(self, theta: ModelTheta, fast: ModelFast, context, step: Step):
        return fast.networks, None, context

    def strays(self, theta: ModelTheta, fast: ModelFast) -> Float[Array, ""]:
        noise = theta.wandering.noise
        return jnp.where(fast.window.size == 0, jnp.maximum(noise, self.explore), noise)

    def adapt(self, theta: ModelTheta, fast: ModelFast, batch: Step, key) -> ModelFast:
        seen = model_rows(batch), batch.valid
        window = fast.window.add(*jax.tree.map(lambda x: x.reshape(-1, *x.shape[batch.valid.ndim :]), seen))
        counts = jnp.arange(self.window) < window.size
        fit = lambda network, ψ: self.fitted(network, ψ, theta.scales, window.rows, counts)  # noqa: E731
        return ModelFast(jax.vmap(fit)(theta.networks, theta.adaptation), window)

    def fitted(self, network: MLP, ψ: Any, scales: Scales, rows: ModelRow, valid: Bool[Array, " n"]) -> MLP:
        """ONE member after `inner_steps` steps on the loss of the valid ones of rows [n], as far as learners see it."""

        def step(network: MLP, _: None) -> tuple[MLP, None]:
            loss, gradient = jax.value_and_grad(self.model.mean_loss)(network, scales, rows, valid, seen=True)
            Δ, _ = self.rule.step(ψ, None, network, trees.within(self.inner_max_norm, gradient), loss)
            return trees.add(network, Δ), None

        return jax.lax.scan(step, network, None, length=self.inner_steps)[0]


class MRLMAlgorithm(ModelBasedAlgorithm):
    learner: FittedModelLearner
    adapt_every: int = eqx.field(static=True)
    query: int = eqx.field(static=True)

    def __init__(self, config: MRLM, spec: Spec):
        lr = jnp.array(config.inner_lr)
        learner = FittedModelLearner(
            **config.learner_parts(spec), window=config.window, inner_steps=config.inner_steps,
            rule=LearnedRates(lr) if config.learned_inner_lr else SGD(lr), inner_max_norm=jnp.array(config.inner_max_norm),
            explore=jnp.array(config.explore),
        )  # fmt: skip
        self.adapt_every, self.query = config.adapt_every, config.query
        super().__init__(config, learner, self.layout_of(config.episodes, learner))

    def layout_of(self, episodes: int, learner: FittedModelLearner) -> Layout:
        """So many episodes; the learner adapts after each, or every `adapt_every` steps while they go on."""
        steps = learner.spec.episode_steps
        if not self.adapt_every:
            return Layout(episodes, 1, steps, episodes=1)
        rounds = -(-episodes * steps // self.adapt_every)
        return Layout(rounds, 1, self.adapt_every, episodes=episodes, carry=True)

    def test_layout(self, episodes: int | None) -> Layout:
        return self.layout_of(TEST_EPISODES if episodes is None else max(1, episodes), self.learner)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        after, metrics = super().learn(state, lifetime, key)
        if self.adapt_every:
            # Of an episode, where the caller's would be that of a round.
            rows = lifetime.rounds
            earned = jnp.where(rows.valid, rows.reward, 0.0).sum() / (rows.valid & rows.first).sum()
            metrics |= {"return": earned, "return_before_adaptation": earned}
        return after, metrics

    def loss(self, network, adaptation, scales, seen: Seen, key):
        """Of the steps that follow a window somewhere in the lifetime, as long as the task is known or shorter."""
        learner, M, K = self.learner, self.learner.window, self.query
        k_now, k_size = jax.random.split(key)
        now = jax.random.randint(k_now, (), 0, jnp.maximum(seen.valid.sum(), 1))
        size = jax.random.randint(k_size, (), 1, M + 1)
        before, after = now - M + jnp.arange(M), now + jnp.arange(K)
        support = trees.index(seen.rows, jnp.maximum(before, 0))
        counts = (before >= 0) & (before >= now - size)
        fitted = learner.fitted(network, adaptation, scales, support, counts)

        last = seen.valid.shape[0] - 1
        query = trees.index(seen.rows, jnp.minimum(after, last))
        judged = (after <= last) & seen.valid[jnp.minimum(after, last)]
        loss = learner.model.mean_loss(fitted, scales, query, judged)

        def error(network: MLP) -> Float[Array, ""]:
            one = lambda row: learner.model.squared_error(network, scales, row)  # noqa: E731
            return valid_mean(jax.vmap(one)(query), judged)

        return loss, {
            "model_loss": loss,
            "model_error_before_adaptation": error(network),
            "model_error": error(fitted),
        }
