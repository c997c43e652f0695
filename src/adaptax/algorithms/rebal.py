"""ReBAL: model-based meta-RL with a model that remembers.

Nagabandi et al. 2019 (arXiv 1803.11347), the recurrent one of their two. A GRU reads what happened, step by step, and what it has
made of it tells the model which task this is:

    h_t = GRU(h_{t−1}, (o_t, o_t − o_{t−1}, a_{t−1}, r_{t−1}, d_{t−1}))        min  E_task Σ_t L(s_{t+1}, r_t | s_t, a_t, h_t)

L is the negative log-likelihood of next observation, reward and end of the episode (`adaptation/dynamics_model.py`). Behaviour
plans with the model that is told h_t. It adapts at every step, within the first episode; on a new task nothing is differentiated.

Good at: few environment steps in meta-training; tasks that a few steps tell apart; tasks that change underway. Bad at: tasks
unlike all that it was trained on, to which it cannot be fitted as `mrlm` is; lifetimes longer than those trained on.

Where we depart from the paper: h_t is what an ordinary network is told, where the paper's recurrent network itself predicts; it
is never reset within a lifetime, where the paper's reads the last M steps; the model predicts the reward; an ensemble.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.adaptation.dynamics_model import Scales
from adaptax.adaptation.model_based import ModelTheta, PlanningLearner
from adaptax.algorithms.model_based import ModelBased, ModelBasedAlgorithm, Seen
from adaptax.estimators.returns import valid_mean
from adaptax.networks.encoding import encode_action, observation_size
from adaptax.networks.layers import GRU, MLP
from adaptax.types import Layout, Spec, Step


@dataclasses.dataclass(frozen=True)
class ReBAL(ModelBased):
    """ReBAL: a model of the environment that remembers the task's steps; behaviour plans with it."""

    method: ClassVar = "ReBAL"

    memory: int = dataclasses.field(default=32, metadata={"least": 0})
    """Units of the GRU; 0: nothing is remembered, and the model is that of all tasks at once."""

    def build(self, spec: Spec) -> ReBALAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where it cannot plan."""
        self.check(spec)
        return ReBALAlgorithm(self, spec)


class RecurrentModelLearner(PlanningLearner):
    """Tells its members what a GRU, one for each, has made of the stream."""

    memory: int = eqx.field(static=True)

    def new_adaptation(self, networks: MLP, key: Key[Array, ""]) -> GRU:
        """Leaves [E, ...]."""
        size = 2 * observation_size(self.spec) + self.spec.action.size + 2
        return jax.vmap(lambda key: GRU(size, self.memory, key))(jax.random.split(key, self.members))

    def new_context(self, theta: ModelTheta) -> tuple[Float[Array, "E h"], Float[Array, " d"]]:
        """Of each member, and the observation before."""
        return jnp.zeros((self.members, self.memory)), jnp.zeros(observation_size(self.spec))

    def known(self, theta: ModelTheta, fast, context, step: Step):
        (h, before), obs = context, step.obs.reshape(-1)
        x = self.reading(
            theta.scales, obs, before, step.prev_action, step.prev_reward, step.first, step.start
        )
        h = jax.vmap(lambda gru, h: gru(h, x))(theta.adaptation, h)
        return theta.networks, h, (h, obs)

    def belief(self, theta: ModelTheta, fast, memory) -> Float[Array, " Eh"]:
        """What the members' GRUs have made of the stream."""
        return memory.context[0].reshape(-1)

    def reading(
        self,
        scales: Scales,
        obs: Array,
        before: Array,
        action: Array,
        reward: Array,
        first: Array,
        start: Array,
    ) -> Float[Array, " n"]:
        """What the GRU sees of a row: where it is, how it came there, what it did for that, and what that paid."""
        change = (obs - before - scales.change.mean) / scales.change.deviation
        paid = (reward - scales.reward.mean[0]) / scales.reward.deviation[0]
        return jnp.concatenate([
            scales.input(obs),
            jnp.where(first, 0.0, jnp.clip(change, -10.0, 10.0)),
            jnp.where(start, 0.0, encode_action(self.spec.action, action)),
            jnp.stack([jnp.where(start, 0.0, jnp.clip(paid, -10.0, 10.0)), first.astype(jnp.float32)]),
        ])  # fmt: skip


class ReBALAlgorithm(ModelBasedAlgorithm):
    learner: RecurrentModelLearner

    def __init__(self, config: ReBAL, spec: Spec):
        learner = RecurrentModelLearner(**config.learner_parts(spec, config.memory), memory=config.memory)
        super().__init__(config, learner, self.layout_of(config.episodes, spec))

    @staticmethod
    def layout_of(episodes: int, spec: Spec) -> Layout:
        return Layout(1, 1, episodes * spec.episode_steps, episodes=episodes)

    def test_layout(self, episodes: int | None) -> Layout:
        """One stream of so many episodes."""
        spec = self.learner.spec
        return self.layout_of(max(2, spec.episodes) if episodes is None else max(1, episodes), spec)

    def loss(self, network, adaptation: GRU, scales, seen: Seen, key):
        """Of all steps of the lifetime, each told what was seen before it."""
        learner, rows = self.learner, seen.rows
        xs = self.readings(scales, seen)
        nothing = jnp.zeros(learner.memory)
        contexts = adaptation.unroll(nothing, xs, seen.valid)
        one = lambda row, h: learner.model.loss(network, scales, row, h)  # noqa: E731
        loss = valid_mean(jax.vmap(one)(rows, contexts), seen.valid)

        def error(contexts: Float[Array, "n h"]) -> Float[Array, ""]:
            one = lambda row, h: learner.model.squared_error(network, scales, row, h)  # noqa: E731
            return valid_mean(jax.vmap(one)(rows, contexts), seen.valid)

        # Before adaptation: every step as if it were the lifetime's first.
        unknown = jax.vmap(lambda x: adaptation(nothing, x))(jax.vmap(self.as_first)(xs))
        return loss, {
            "model_loss": loss,
            "model_error_before_adaptation": error(unknown),
            "model_error": error(contexts),
        }

    def readings(self, scales: Scales, seen: Seen) -> Float[Array, "n x"]:
        """What the GRU saw of each row of a lifetime, as `RecurrentModelLearner.known` shows it."""
        before = jax.tree.map(lambda x: jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]), seen.rows)
        start = jnp.arange(seen.first.shape[0]) == 0
        read = lambda *row: self.learner.reading(scales, *row)  # noqa: E731
        return jax.vmap(read)(seen.rows.obs, before.obs, before.action, before.reward, seen.first, start)

    def as_first(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """What is read of a row, as if nothing had been before it."""
        size = observation_size(self.learner.spec)
        return jnp.concatenate([x[:size], jnp.zeros(x.shape[0] - size - 1), jnp.ones(1)])
