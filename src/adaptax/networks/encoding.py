"""How a learner's inputs become one vector."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax.networks.normaliser import Normaliser
from adaptax.types import Box, Discrete, MultiDiscrete, Space, Spec, Step


def encode_action(space: Space, action: Array) -> Float[Array, " n"]:
    """An action in the policy's units as a vector: one-hot for choices, clipped to [-1, 1] where bounded."""
    match space:
        case Discrete(n):
            return jax.nn.one_hot(action, n)
        case MultiDiscrete(choices):
            return jnp.concatenate([jax.nn.one_hot(action[i], n) for i, n in enumerate(choices)])
        case Box():
            return jnp.where(jnp.array(space.bounded), jnp.clip(action, -1.0, 1.0), action)


def zero_action(space: Space) -> Array:
    """What stands for the previous action where there is none."""
    match space:
        case Discrete():
            return jnp.zeros((), jnp.int32)
        case MultiDiscrete(choices):
            return jnp.zeros((len(choices),), jnp.int32)
        case Box():
            return jnp.zeros((space.size,))


def trial_inputs(
    spec: Spec, normaliser: Normaliser, step: Step, seen: Float[Array, " features"] | None = None
) -> Float[Array, " n"]:
    """φ(o, a₋₁, r₋₁, d₋₁): what RL² and its kin see at each step (Duan et al. 2016, §2.2), at unit scale.

    d₋₁ is `first`; the previous action's one-hot is all zero at the start of the stream, so that "none" differs
    from action 0. `seen`: features that stand in the observation's place.
    """
    seen = normaliser.observation(step.obs) if seen is None else seen
    previous = jnp.where(step.start, 0.0, encode_action(spec.action, step.prev_action))
    scalars = jnp.stack([normaliser.scaled_reward(step.prev_reward), step.first.astype(jnp.float32)])
    return jnp.concatenate([seen, previous, scalars])


def trial_inputs_size(spec: Spec, seen: int | None = None) -> int:
    """Length of `trial_inputs`."""
    return (observation_size(spec) if seen is None else seen) + spec.action.size + 2


def observation_size(spec: Spec) -> int:
    """Length of a flattened observation."""
    return math.prod(spec.observation)


def network_input(spec: Spec) -> int | tuple[int, ...]:
    """What the size of a network's input is: the length of a flattened observation, or the shape of an image."""
    return spec.observation if spec.images else observation_size(spec)
