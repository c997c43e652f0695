"""Soft actor-critic (Haarnoja et al. 2018): twin critics, and the value of a state to a policy that is paid for its entropy.

The entropy weighs 1; how much it counts is a matter of the rewards' scale. Continuous actions are reparameterised; over discrete
ones expectations are exact (Christodoulou 2019). Everything is written for ONE state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.estimators.transitions import Transition, bootstrapped
from adaptax.networks.distributions import Categorical, TanhGaussian
from adaptax.networks.encoding import encode_action
from adaptax.networks.layers import MLP
from adaptax.types import Discrete, Space


class TwinCritic(eqx.Module):
    """Q₁ and Q₂, of one shape, with their weights stacked."""

    nets: MLP
    """Leaves [2, ...]"""
    space: Space = eqx.field(static=True)

    def __init__(self, n_in: int, hidden: tuple[int, ...], space: Space, key: Key[Array, ""]):
        discrete = isinstance(space, Discrete)
        sizes = (n_in, hidden, space.size) if discrete else (n_in + space.size, hidden, 1)
        self.nets = jax.vmap(lambda k: MLP(*sizes, k, jax.nn.relu))(jax.random.split(key, 2))
        self.space = space

    def __call__(self, x: Float[Array, " n_in"], action: Array) -> Float[Array, " 2"]:
        """Q(x, a), a in the policy's units."""
        if isinstance(self.space, Discrete):
            # A one-hot product, as in `Categorical.log_prob`.
            return self.of_each_action(x) @ jax.nn.one_hot(action, self.space.n)
        return self._outputs(jnp.concatenate([x, encode_action(self.space, action)]))[:, 0]

    def of_each_action(self, x: Float[Array, " n_in"]) -> Float[Array, "2 n"]:
        """Q(x, ·) of a `Discrete` space."""
        return self._outputs(x)

    def _outputs(self, x: Float[Array, " n"]) -> Float[Array, "2 n_out"]:
        return jax.vmap(lambda net: net(x))(self.nets)


def soft_value(
    critic: TwinCritic, x: Float[Array, " n_in"], dist: Any, key: Key[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """V(x) = E_{a~π}[min(Q₁, Q₂)(x, a) − log π(a)], and the entropy E[−log π], in nats.

    Exact for a `Categorical`; of one reparameterised sample for a `TanhGaussian`. Differentiable in the distribution: the actor
    ascends it.
    """
    match dist:
        case Categorical():
            entropy = dist.entropy()
            q = critic.of_each_action(x).min(0)
            return jnp.sum(jnp.exp(dist.log_probs()) * q) + entropy, entropy
        case TanhGaussian():
            action, logp = dist.sample_and_log_prob(key)
            return critic(x, action).min() - logp, -logp
    raise TypeError(f"soft_value: {type(dist).__name__} is neither Categorical nor TanhGaussian")


def moved_towards(target: Any, online: Any, share: Float[Array, ""]) -> Any:
    """The target network after a step of τ: (1 − τ) target + τ online."""
    return jax.tree.map(lambda old, new: old + share * (new - old), target, online)


def sac_losses(
    policy: Callable[[Float[Array, " n_in"]], Any],
    critic: TwinCritic,
    target: TwinCritic,
    x: Float[Array, " n_in"],
    next_x: Float[Array, " n_in"],
    row: Transition,
    gamma: Float[Array, ""],
    key: Key[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Σ_i (Q_i(x, a) − y)², the actor's loss −V(x), and its entropy in nats, of one transition.

    x and next_x are what the networks see of its observations. What x was computed with is trained by the critics' error alone.
    """
    k_next, k_now = jax.random.split(key)
    # The target is a constant, and the actor changes neither the critics nor what it sees.
    x_held, next_x, critic_held = jax.lax.stop_gradient((x, next_x, critic))
    value, _ = soft_value(target, next_x, policy(next_x), k_next)
    y = bootstrapped(row.reward, row.terminated, value, gamma)
    error = jnp.sum((critic(x, row.action) - y) ** 2)
    gain, entropy = soft_value(critic_held, x_held, policy(x_held), k_now)
    return error, -gain, entropy
