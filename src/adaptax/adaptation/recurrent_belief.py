"""A belief about the task that a recurrent encoder forms step by step, and a policy that is told it (Zintgraf et al. 2020)."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.estimators.elbo import gaussian
from adaptax.learner import Learner
from adaptax.networks.decoder import Decoder
from adaptax.networks.encoding import encode_action, observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.heads import Heads, first_log_std
from adaptax.networks.layers import GRU, MLP, Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Out, Spec, Step

EXPECTATION_DRAWS = 32
"""Draws of m in an expected reward."""


class BeliefTheta(Heads):
    gru: GRU
    posterior: Dense
    reward: Decoder
    transition: Decoder | None

    def only(self, *names: str) -> Any:
        """True for the leaves of these parts."""
        no = jax.tree.map(lambda _: False, self)
        chosen = lambda t: [getattr(t, name) for name in names if getattr(t, name) is not None]  # noqa: E731
        return eqx.tree_at(chosen, no, [jax.tree.map(lambda _: True, part) for part in chosen(self)])


class RecurrentBeliefLearner(Learner):
    """memory: the encoder's hidden state, of which the belief is a linear function."""

    spec: Spec = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)
    policy_hidden: tuple[int, ...] = eqx.field(static=True)
    decoder_hidden: tuple[int, ...] = eqx.field(static=True)
    reward_inputs: str = eqx.field(static=True)
    decode_transitions: bool = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> BeliefTheta:
        ks = jax.random.split(key, 6)
        n_obs, n_action = observation_size(self.spec), self.spec.action.size
        n_reward = n_obs if self.reward_inputs == "next-obs" else 2 * n_obs + n_action
        transition = Decoder(n_obs + n_action, self.latent, self.decoder_hidden, n_obs, ks[3])
        n_policy = n_obs + 2 * self.latent
        return BeliefTheta(
            gru=GRU(trial_inputs_size(self.spec), self.hidden, ks[0]),
            posterior=Dense(self.hidden, 2 * self.latent, 1.0, ks[1]),
            reward=Decoder(n_reward, self.latent, self.decoder_hidden, 1, ks[2]),
            transition=transition if self.decode_transitions else None,
            policy=MLP(n_policy, self.policy_hidden, n_action, ks[4]),
            value=MLP(n_policy, self.policy_hidden, 1, ks[5], last_gain=1.0),
            log_std=first_log_std(self.spec.action),
            normaliser=Normaliser.of(n_obs),
        )

    def remember(self, theta: BeliefTheta) -> Float[Array, " hidden"]:
        return jnp.zeros((self.hidden,))

    def act(self, theta, fast, memory, step, key):
        h = theta.gru(memory, trial_inputs(self.spec, theta.normaliser, step))
        return self.say(theta, theta.posterior(h), step), h

    def unroll(self, theta, fast, memory, steps, stream_key):
        hs = self.hidden_states(theta, memory, steps)
        return jax.vmap(lambda h, s: self.say(theta, theta.posterior(h), s))(hs, steps), hs[-1]

    def hidden_states(self, theta: BeliefTheta, memory: Array, steps: Step) -> Float[Array, "T hidden"]:
        """h_t after each row."""
        x = jax.vmap(lambda s: trial_inputs(self.spec, theta.normaliser, s))(steps)
        return theta.gru.unroll(memory, x, steps.valid)

    def say(self, theta: BeliefTheta, belief: Float[Array, " two_latents"], step: Step) -> Out:
        """Policy and critic, told the belief (μ, log σ²)."""
        # Not trained by the return: its gradient is noisy and of another scale, and the two losses would need a weight (§4).
        told = jax.lax.stop_gradient(belief)
        x = jnp.concatenate([theta.normaliser.observation(step.obs), told])
        return dataclasses.replace(theta.say(self.spec.action, x, step), aux=belief)

    def belief(self, theta, fast, memory):
        return theta.posterior(memory)

    def expected_reward(self, theta, fast, memory, obs, action, next_obs):
        """The mean decoded reward over draws of m."""
        q = gaussian(theta.posterior(memory))
        # Always the same draws: two looks at one belief show the same.
        ms = jax.vmap(q.sample)(jax.random.split(jax.random.key(0), EXPECTATION_DRAWS))
        x = self.reward_x(theta, obs, action, next_obs)
        return theta.reward.pairs(x[None], ms).mean() * theta.normaliser.reward_rms

    def reward_x(self, theta: BeliefTheta, obs: Array, action: Array, next_obs: Array) -> Float[Array, " n"]:
        """What the reward decoder sees of a transition."""
        after = theta.normaliser.observation(next_obs)
        if self.reward_inputs == "next-obs":
            return after
        return jnp.concatenate([self.transition_x(theta, obs, action), after])

    def transition_x(self, theta: BeliefTheta, obs: Array, action: Array) -> Float[Array, " n"]:
        """What the transition decoder sees of a transition."""
        return jnp.concatenate([theta.normaliser.observation(obs), encode_action(self.spec.action, action)])
