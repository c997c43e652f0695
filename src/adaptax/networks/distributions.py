"""Distributions over actions, each for one example; batches come from `jax.vmap`.

They are pytrees of their parameters, so they travel through `scan` and are stored in a `Step`.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.types import Box, Discrete, MultiDiscrete, Space

LEAST_LOG_STD = -3.0
SOFT_LOG_STD = -5.0, 2.0
"""Between these lies log σ where it depends on the observation."""
MASKED_LOGIT = -1e9
"""Stands in for log 0: finite, so that 0 · log 0 stays 0 in an entropy and its gradient."""


class Categorical(eqx.Module):
    """One choice among n, from unnormalised log-probabilities."""

    logits: Float[Array, " n"]

    def log_probs(self) -> Float[Array, " n"]:
        return jax.nn.log_softmax(self.logits)

    def log_prob(self, action: Int[Array, ""]) -> Float[Array, ""]:
        # A one-hot product, not a gather: its transpose is a product too, where a gather's is a slow scatter.
        return jnp.sum(jax.nn.one_hot(action, self.logits.shape[-1]) * self.log_probs())

    def sample(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Int[Array, ""]:
        return jnp.argmax(self.logits).astype(jnp.int32)

    def entropy(self) -> Float[Array, ""]:
        """H = −Σ p log p, in nats."""
        log_p = self.log_probs()
        return -jnp.sum(jnp.exp(log_p) * log_p)

    def kl(self, other: Categorical) -> Float[Array, ""]:
        """KL(self ‖ other) = Σ p (log p − log q), in nats."""
        log_p = self.log_probs()
        return jnp.sum(jnp.exp(log_p) * (log_p - other.log_probs()))


class MultiCategorical(eqx.Module):
    """Independent choices; `logits` holds them one after the other, `choices` how many each has."""

    logits: Float[Array, " total"]
    choices: tuple[int, ...] = eqx.field(static=True)

    def parts(self) -> list[Categorical]:
        edges = [sum(self.choices[:i]) for i in range(1, len(self.choices))]
        return [Categorical(part) for part in jnp.split(self.logits, edges)]

    def log_prob(self, action: Int[Array, " choices"]) -> Float[Array, ""]:
        return sum((p.log_prob(action[i]) for i, p in enumerate(self.parts())), jnp.zeros(()))

    def sample(self, key: Key[Array, ""]) -> Int[Array, " choices"]:
        parts = self.parts()
        return jnp.stack([p.sample(k) for p, k in zip(parts, jax.random.split(key, len(parts)), strict=True)])

    def mode(self) -> Int[Array, " choices"]:
        return jnp.stack([p.mode() for p in self.parts()])

    def entropy(self) -> Float[Array, ""]:
        return sum((p.entropy() for p in self.parts()), jnp.zeros(()))

    def kl(self, other: MultiCategorical) -> Float[Array, ""]:
        pairs = zip(self.parts(), other.parts(), strict=True)
        return sum((p.kl(q) for p, q in pairs), jnp.zeros(()))


class Gaussian(eqx.Module):
    """A normal distribution with a diagonal covariance, in the policy's units."""

    mean: Float[Array, " d"]
    log_std: Float[Array, " d"]

    def log_prob(self, action: Float[Array, " d"]) -> Float[Array, ""]:
        """log p = −½ Σ [((a − μ)/σ)² + 2 log σ + log 2π]."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * jnp.sum(z * z + 2.0 * self.log_std + math.log(2.0 * math.pi))

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def mode(self) -> Float[Array, " d"]:
        return self.mean

    def entropy(self) -> Float[Array, ""]:
        return jnp.sum(self.log_std + 0.5 * math.log(2.0 * math.pi * math.e))

    def kl(self, other: Gaussian) -> Float[Array, ""]:
        """KL(self ‖ other) = Σ [log σ₂/σ₁ + (σ₁² + (μ₁ − μ₂)²)/(2σ₂²) − ½], in nats."""
        δ = self.mean - other.mean
        ratio = jnp.exp(2.0 * (self.log_std - other.log_std)) + (δ * jnp.exp(-other.log_std)) ** 2
        return jnp.sum(other.log_std - self.log_std + 0.5 * ratio - 0.5)


class TanhGaussian(eqx.Module):
    """A normal distribution whose bounded entries are squashed to (-1, 1): a = tanh u, u ~ N(μ, σ²).

    Haarnoja et al. 2018 (arXiv 1801.01290), appendix C.
    Entries of a `Box` without two finite bounds stay plainly normal. Its entropy has no closed form.
    """

    mean: Float[Array, " d"]
    """Of u."""
    log_std: Float[Array, " d"]
    bounded: tuple[bool, ...] = eqx.field(static=True)

    def log_prob(self, action: Float[Array, " d"]) -> Float[Array, ""]:
        """log p(a) = log N(u) − Σ log(1 − tanh² u), u = artanh a.

        An action on the bounds, where float32 cannot tell u, counts as the nearest one inside."""
        inside = jnp.clip(action, -1.0 + 1e-6, 1.0 - 1e-6)
        bounded = jnp.array(self.bounded)
        # Both branches of a `where` are differentiated, so artanh must not see what lies outside.
        u = jnp.where(bounded, jnp.arctanh(jnp.where(bounded, inside, 0.0)), action)
        return self._log_prob_of(u)

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: Key[Array, ""]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """A reparameterised sample, and its log-probability without the way back through artanh."""
        u = Gaussian(self.mean, self.log_std).sample(key)
        return self._squashed(u), self._log_prob_of(u)

    def mode(self) -> Float[Array, " d"]:
        """tanh μ: the mode of u, squashed."""
        return self._squashed(self.mean)

    def kl(self, other: TanhGaussian) -> Float[Array, ""]:
        """KL(self ‖ other), in nats: that of u, since both are squashed alike."""
        return Gaussian(self.mean, self.log_std).kl(Gaussian(other.mean, other.log_std))

    def _squashed(self, u: Float[Array, " d"]) -> Float[Array, " d"]:
        return jnp.where(jnp.array(self.bounded), jnp.tanh(u), u)

    def _log_prob_of(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        # log(1 − tanh² u) = 2 (log 2 − u − softplus(−2u)), which does not cancel where tanh u rounds to 1.
        slope = jnp.where(jnp.array(self.bounded), 2.0 * (math.log(2.0) - u - jax.nn.softplus(-2.0 * u)), 0.0)
        return Gaussian(self.mean, self.log_std).log_prob(u) - jnp.sum(slope)


Distribution = Categorical | MultiCategorical | Gaussian | TanhGaussian


def parameters(space: Space) -> int:
    """How many network outputs `from_outputs` needs for an action space."""
    return space.size


def from_outputs(
    space: Space,
    outputs: Float[Array, " n"],
    log_std: Float[Array, " n"],
    action_mask: Bool[Array, " n"] | None = None,
) -> Distribution:
    """The action distribution that a network's last layer describes.

    `log_std` is read by `Box` spaces only, whose standard deviation does not depend on the observation; it counts as
    `LEAST_LOG_STD` where it is less: a policy that has stopped trying others learns nothing more.
    """
    match space:
        case Box():
            return Gaussian(outputs, jnp.maximum(log_std, LEAST_LOG_STD))
        case Discrete() | MultiDiscrete():
            logits = outputs if action_mask is None else jnp.where(action_mask, outputs, MASKED_LOGIT)
            return (
                Categorical(logits)
                if isinstance(space, Discrete)
                else MultiCategorical(logits, space.choices)
            )


def soft_outputs(space: Box | Discrete) -> int:
    """How many network outputs `squashed` needs for an action space."""
    return 2 * space.size if isinstance(space, Box) else space.size


def squashed(space: Box | Discrete, outputs: Float[Array, " n"]) -> Categorical | TanhGaussian:
    """The distribution that an actor paid for its entropy describes: its deviation depends on the observation too."""
    if isinstance(space, Discrete):
        return Categorical(outputs)
    mean, log_std = jnp.split(outputs, 2)
    return TanhGaussian(mean, jnp.clip(log_std, *SOFT_LOG_STD), space.bounded)


def uniform(space: Space, action_mask: Bool[Array, " n"] | None = None) -> Distribution:
    """What a policy that knows nothing does: uniform over choices; standard normal, in the policy's units, over a `Box`."""
    zeros = jnp.zeros((space.size,))
    return from_outputs(space, zeros, zeros, action_mask)
