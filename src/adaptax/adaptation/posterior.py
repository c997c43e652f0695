"""A Gaussian belief about the task, as a product of one factor for each piece of evidence (PEARL, Rakelly et al. 2019, §4.1), and
the learner that acts on a sample of it.

    q(z | c₁..cₙ)  ∝  N(z; 0, I) · Π N(z; μᵢ, 1/λᵢ)

In natural parameters a product is a sum, whatever its order: evidence can be multiplied in all at once, or round by round.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical, TanhGaussian, soft_outputs, squashed
from adaptax.networks.encoding import encode_action, observation_size
from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Box, Discrete, Lifetime, Out, Spec, Step

VAGUE = 4.0
"""A new encoder's factors have the precision softplus(−VAGUE) ≈ 0.02: it takes many transitions to be sure of anything."""
WANDERING = 1.5
"""Gain of a new policy's last layer: its actions depend on z, which lasts for an episode. Each episode goes somewhere, far, where a
policy that only trembles finds nothing that is not near."""

Latent = Float[Array, " d"]


class GaussianBelief(eqx.Module):
    """N(z; weighted / precision, 1 / precision), independent in every entry."""

    precision: Latent
    """Λ = 1 + Σ λᵢ"""
    weighted: Latent
    """Σ λᵢ μᵢ: the mean times the precision."""

    @property
    def mean(self) -> Latent:
        return self.weighted / self.precision

    @property
    def std(self) -> Latent:
        return jax.lax.rsqrt(self.precision)

    def sample(self, key: Key[Array, ""]) -> Latent:
        """Reparameterised: differentiable in the mean and the deviation."""
        return self.mean + self.std * jax.random.normal(key, self.precision.shape)


def prior(latent: int) -> GaussianBelief:
    """N(0, I): what is believed before any evidence, the empty product."""
    return GaussianBelief(jnp.ones((latent,)), jnp.zeros((latent,)))


def multiplied(
    belief: GaussianBelief,
    means: Float[Array, "n d"],
    precisions: Float[Array, "n d"],
    valid: Bool[Array, " n"],
) -> GaussianBelief:
    """The belief times the factors N(z; μᵢ, 1/λᵢ) of the valid rows, λᵢ ≥ 0."""
    # Where, not a product: what stands in a row that is not valid may be anything.
    λ = jnp.where(valid[:, None], precisions, 0.0)
    λμ = jnp.where(valid[:, None], precisions * means, 0.0)
    return GaussianBelief(belief.precision + λ.sum(0), belief.weighted + λμ.sum(0))


def kl_from_prior(belief: GaussianBelief) -> Float[Array, ""]:
    """KL(q ‖ N(0, I)) = ½ Σ [1/Λ + mean² − 1 + log Λ], in nats."""
    return 0.5 * jnp.sum(1.0 / belief.precision + belief.mean**2 - 1.0 + jnp.log(belief.precision))


# --- the learner -------------------------------------------------------------------------------------------------------


class PosteriorTheta(eqx.Module):
    encoder: MLP
    """c ↦ (μ, λ before softplus)"""
    policy: MLP
    """(s, z) ↦ parameters of the action's distribution"""
    normaliser: Normaliser

    def observing(self, lifetime: Lifetime) -> PosteriorTheta:
        """θ, whose normaliser has seen the lifetimes."""
        normaliser = self.normaliser.update(lifetime.rounds, jnp.zeros_like(lifetime.rounds.reward))
        return PosteriorTheta(self.encoder, self.policy, normaliser)


class Evidence(eqx.Module):
    """What the belief is made of; the reward is the one that learners may see."""

    obs: Array
    action: Array
    reward: Array
    next_obs: Array | None


class PosteriorLearner(Learner):
    """fast: the belief; memory: its sample z, drawn anew in an episode's first row."""

    spec: Spec = eqx.field(static=True)
    """Its actions are a `Box` or `Discrete`."""
    latent: int = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    encoder_hidden: tuple[int, ...] = eqx.field(static=True)
    use_next_obs: bool = eqx.field(static=True)

    @property
    def space(self) -> Box | Discrete:
        assert isinstance(self.spec.action, Box | Discrete)
        return self.spec.action

    def init(self, key: Key[Array, ""]) -> PosteriorTheta:
        k_encoder, k_policy = jax.random.split(key)
        obs, action = observation_size(self.spec), self.spec.action.size
        n_context = obs + action + 1 + (obs if self.use_next_obs else 0)
        return PosteriorTheta(
            encoder=MLP(n_context, self.encoder_hidden, 2 * self.latent, k_encoder, jax.nn.relu, 1.0),
            policy=MLP(
                obs + self.latent, self.hidden, soft_outputs(self.space), k_policy, jax.nn.relu, WANDERING
            ),
            normaliser=Normaliser.of(obs),
        )

    def begin(self, theta: PosteriorTheta, key, features) -> GaussianBelief:
        return prior(self.latent)

    def remember(self, theta: PosteriorTheta) -> Float[Array, " latent"]:
        return jnp.zeros((self.latent,))

    def act(self, theta: PosteriorTheta, fast: GaussianBelief, memory, step, key):
        z = jnp.where(step.first, fast.sample(key), memory)
        return Out(self.policy(theta, self.state(theta, step.obs, z)), jnp.zeros(())), z

    def state(self, theta: PosteriorTheta, obs: Array, z: Latent) -> Float[Array, " n"]:
        """What policy and critics see: the observation at unit scale, and z."""
        return jnp.concatenate([theta.normaliser.observation(obs), z])

    def policy(self, theta: PosteriorTheta, state: Float[Array, " n"]) -> Categorical | TanhGaussian:
        return squashed(self.space, theta.policy(state))

    def adapt(self, theta: PosteriorTheta, fast: GaussianBelief, batch: Step, key) -> GaussianBelief:
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (self.evidence(batch), batch.valid))
        return self.weighed(theta, fast, *rows)

    def evidence(self, rows: Step) -> Evidence:
        """Of rows with any leading axes. Never the shaped reward, which is not there at meta-test."""
        return Evidence(rows.obs, rows.action, rows.reward, rows.next_obs if self.use_next_obs else None)

    def weighed(
        self, theta: PosteriorTheta, belief: GaussianBelief, evidence: Evidence, valid: Bool[Array, " n"]
    ) -> GaussianBelief:
        """The belief after n more pieces of evidence, of which the valid ones count."""
        means, precisions = jax.vmap(lambda one: self.factor(theta, one))(evidence)
        return multiplied(belief, means, precisions, valid)

    def factor(self, theta: PosteriorTheta, one: Evidence) -> tuple[Array, Array]:
        """μ_φ(c) and λ_φ(c)"""
        see = theta.normaliser.observation
        parts = [
            see(one.obs), encode_action(self.spec.action, one.action), theta.normaliser.scaled_reward(one.reward)[None]
        ]  # fmt: skip
        if one.next_obs is not None:
            parts.append(see(one.next_obs))
        mean, precision = jnp.split(theta.encoder(jnp.concatenate(parts)), 2)
        return mean, jax.nn.softplus(precision - VAGUE)

    def belief(self, theta: PosteriorTheta, fast: GaussianBelief, memory) -> Float[Array, " both"]:
        """The belief's mean and standard deviation."""
        return jnp.concatenate([fast.mean, fast.std])
