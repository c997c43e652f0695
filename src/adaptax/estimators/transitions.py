"""What methods learn from that do not care in which episode a step was made: single transitions."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from adaptax.networks.encoding import zero_action
from adaptax.types import Discrete, Spec, Step


class Transition(eqx.Module):
    """One step, or an array of them, in the units of the environment but for the action, which is in the policy's."""

    obs: Array
    action: Array
    reward: Array
    """The one that training maximises."""
    next_obs: Array
    terminated: Array
    """Not so where the time was up: the future goes on unseen."""
    next_mask: Array | None = None
    """What is allowed in `next_obs`, bool[n], where some actions are forbidden at times."""


def blank(spec: Spec) -> Transition:
    """One of zeros: what a buffer's rows look like."""
    obs, zero = jnp.zeros(spec.observation), jnp.zeros(())
    mask = jnp.ones(spec.action.n, bool) if spec.masked and isinstance(spec.action, Discrete) else None
    return Transition(obs, zero_action(spec.action), zero, obs, jnp.array(False), mask)


def transitions(rows: Step) -> Transition:
    """Those of rows [..., T], valid or not.

    The mask after a step is that of the stream's next row. After an episode's last step, which nobody has asked for an action,
    it is taken to be that of the step itself.
    """
    mask = rows.action_mask
    if mask is not None:
        following = jnp.concatenate([mask[..., 1:, :], mask[..., -1:, :]], axis=-2)
        last = jnp.arange(mask.shape[-2]) == mask.shape[-2] - 1
        ended = rows.terminated | rows.truncated | last
        mask = jnp.where(ended[..., None], mask, following)
    return Transition(rows.obs, rows.action, rows.training_reward, rows.next_obs, rows.terminated, mask)


def bootstrapped(
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    next_value: Float[Array, ""],
    gamma: Float[Array, ""],
) -> Float[Array, ""]:
    """y = r + γ (1 − terminated) V(s'), a constant. A truncated episode's future goes on: it is worth V(s')."""
    # A target is what the critic is moved to; its own gradient would move it towards what it says itself.
    return jax.lax.stop_gradient(reward + gamma * jnp.where(terminated, 0.0, next_value))
