"""Running statistics that bring observations, rewards and values to unit scale: the frozen part of theta."""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from adaptax import trees
from adaptax.learner import Frozen
from adaptax.networks.layers import MLP, Dense
from adaptax.types import Step

Critic = TypeVar("Critic", Dense, MLP)


class Moments(eqx.Module):
    """Mean and variance of all entries seen, per feature (Chan et al. 1983)."""

    mean: Float[Array, " d"]
    variance: Float[Array, " d"]
    count: Float[Array, ""]

    @staticmethod
    def of(d: int) -> Moments:
        """Mean 0 and variance 1, counted as nothing seen."""
        return Moments(jnp.zeros(d), jnp.ones(d), jnp.zeros(()))

    def update(self, x: Float[Array, "n d"], valid: Bool[Array, " n"]) -> Moments:
        """With the valid rows of x added."""
        w = valid.astype(jnp.float32)[:, None]
        n = w.sum()
        mean = (w * x).sum(0) / jnp.maximum(n, 1.0)
        variance = (w * (x - mean) ** 2).sum(0) / jnp.maximum(n, 1.0)
        total = self.count + n
        share = n / jnp.maximum(total, 1.0)
        δ = mean - self.mean
        new_variance = (1 - share) * self.variance + share * variance + share * (1 - share) * δ**2
        # Old data weighs no more than ten million rows, so that the statistics can follow a policy that moves on.
        return Moments(self.mean + share * δ, new_variance, jnp.minimum(total, 1e7))

    @property
    def deviation(self) -> Float[Array, " d"]:
        """Standard deviation; 1 where a feature is constant."""
        return jnp.where(self.variance < 1e-8, 1.0, jnp.sqrt(self.variance))


class Normaliser(Frozen):
    """Unit scales for what a network sees (observations, rewards) and says (values)."""

    obs: Moments
    reward: Moments
    value: Moments

    @staticmethod
    def of(observation_size: int) -> Normaliser:
        return Normaliser(Moments.of(observation_size), Moments.of(1), Moments.of(1))

    def observation(self, obs: Float[Array, "..."]) -> Float[Array, " d"]:
        """(o − mean)/deviation, clipped to ±10, flattened."""
        z = (obs.reshape(-1) - self.obs.mean) / self.obs.deviation
        return jnp.clip(z, -10.0, 10.0)

    def scaled_reward(self, reward: Float[Array, ""]) -> Float[Array, ""]:
        """r in units of its root mean square, clipped to ±10; the sign is kept."""
        return jnp.clip(reward / self.reward_rms, -10.0, 10.0)

    def standard_reward(self, reward: Float[Array, ""]) -> Float[Array, ""]:
        """(r − mean)/deviation, clipped to ±10."""
        return jnp.clip((reward - self.reward.mean[0]) / self.reward.deviation[0], -10.0, 10.0)

    @property
    def reward_rms(self) -> Float[Array, ""]:
        return jnp.sqrt(self.reward.variance + self.reward.mean**2 + 1e-8)[0]

    def to_value(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """From the network's units to those of returns."""
        return self.value.mean[0] + self.value.deviation[0] * z

    def from_value(self, v: Float[Array, "..."]) -> Float[Array, "..."]:
        """From the units of returns to the network's."""
        return (v - self.value.mean[0]) / self.value.deviation[0]

    def with_first_values(self, returns: Float[Array, "..."], valid: Bool[Array, "..."]) -> Normaliser:
        """With the units of value of these returns, where there have been none: a new critic then guesses their mean."""
        first = self.value.update(returns.reshape(-1, 1), valid.reshape(-1))
        value = trees.where(
            self.value.count == 0, Moments(first.mean, first.variance, self.value.count), self.value
        )
        return Normaliser(self.obs, self.reward, value)

    def keep_values(self, critic: Critic, before: Normaliser) -> Critic:
        """The critic that says in these units of value what `critic` said in those of before (PopArt, van Hasselt et al. 2016,
        eq. 6): one whose units move under it chases targets that it has moved itself."""
        shrink = before.value.deviation[0] / self.value.deviation[0]
        shift = (before.value.mean[0] - self.value.mean[0]) / self.value.deviation[0]
        last = lambda c: c.layers[-1] if isinstance(c, MLP) else c  # noqa: E731
        parts = lambda c: (last(c).weight, last(c).bias)  # noqa: E731
        weight, bias = parts(critic)
        return eqx.tree_at(parts, critic, (shrink * weight, shrink * bias + shift))

    def update(self, steps: Step, returns: Float[Array, "..."]) -> Normaliser:
        """With a batch of rows (any leading axes) and their returns-to-go added."""
        valid = steps.valid.reshape(-1)
        obs = steps.obs.reshape(valid.shape[0], -1)
        return Normaliser(
            self.obs.update(obs, valid),
            self.reward.update(steps.reward.reshape(-1, 1), valid),
            self.value.update(returns.reshape(-1, 1), valid),
        )
