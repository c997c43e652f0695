"""Pendulum with hidden physics. Its default task is Gymnasium's `Pendulum-v1`, step by step."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.tasks.hidden_physics import HiddenPhysics, Range, wrapped
from adaptax.types import Box, Outcome, Spec

State = Float[Array, " 2"]
"""Angle from upright, -π..π, and angular velocity (rad/s)."""

TAU_SECONDS = 0.05
MAX_TORQUE = 2.0
MAX_SPEED = 8.0


class Physics(eqx.Module):
    """A task: what is hidden, float32 scalars."""

    gravity: Array
    """m/s²"""
    mass: Array
    """kg"""
    length: Array
    """m"""
    gain: Array
    """Torque per unit of the action. Negative where the action works the other way round."""


@dataclasses.dataclass(frozen=True)
class Pendulum(HiddenPhysics):
    """A rod to be swung up and held upright by a torque too weak to lift it, whose physics must be found out.

    A step pays −(θ² + 0.1 ω² + 0.001 u²) of the state that it begins in, θ = 0 upright, where u is the torque applied: the
    action, −2..2, times the hidden gain, which in a flipped task is negative. What holds one rod up there throws another
    down. No episode terminates.

    The observation is cos θ, sin θ and ω. There is no `optimal`: it is not known.
    """

    physics: ClassVar = Physics
    signed: ClassVar = "gain"
    gymnasium: ClassVar = (10.0, 1.0, 1.0, 1.0)

    gravity: Range = (8.0, 12.0)
    """m/s²"""
    mass: Range = (0.8, 1.2)
    """kg"""
    length: Range = (0.85, 1.15)
    """m"""
    gain: Range = (0.9, 1.3)
    """Magnitude of the torque per unit of the action."""
    flip_probability: float = 0.5
    """How probable it is that the action works the other way round, in all splits."""
    horizon: int = 200
    """Length of an episode, in steps of 0.05 s."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""

    @property
    def spec(self) -> Spec:
        return self._spec("pendulum", 3, Box((-MAX_TORQUE,), (MAX_TORQUE,)))

    def reset(self, key: Key[Array, ""], task: Physics) -> tuple[State, Float[Array, " 3"]]:
        limit = jnp.array([jnp.pi, 1.0])
        state = jax.random.uniform(key, (2,), minval=-limit, maxval=limit)
        return state, observed(state)

    def step(
        self, key: Key[Array, ""], state: State, action: Float[Array, " 1"], task: Physics
    ) -> tuple[State, Outcome]:
        """One step of the semi-implicit Euler method on ω' = 3g/(2l) sin θ + 3u/(ml²)."""
        θ, ω = state
        u = task.gain * action[0]
        reward = -(θ**2 + 0.1 * ω**2 + 0.001 * u**2)
        α = 3 * task.gravity / (2 * task.length) * jnp.sin(θ) + 3 * u / (task.mass * task.length**2)
        ω = jnp.clip(ω + TAU_SECONDS * α, -MAX_SPEED, MAX_SPEED)
        after = jnp.stack([wrapped(θ + TAU_SECONDS * ω), ω])
        never = jnp.array(False)
        return after, Outcome(observed(after), reward, terminated=never, truncated=never)


def observed(state: State) -> Float[Array, " 3"]:
    """cos θ, sin θ, ω."""
    θ, ω = state
    return jnp.stack([jnp.cos(θ), jnp.sin(θ), ω])
