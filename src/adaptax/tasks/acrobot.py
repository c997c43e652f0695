"""Acrobot with hidden physics. Its default task is Gymnasium's `Acrobot-v1`, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.tasks.hidden_physics import HiddenPhysics, Range, wrapped
from adaptax.types import Discrete, Outcome, Spec

State = Float[Array, " 4"]
"""The first link's angle from hanging down, the second's from the first (rad), and their velocities (rad/s)."""

TAU_SECONDS = 0.2
GRAVITY = 9.8
MOMENT = 1.0
"""Of inertia of either link about its centre of mass, kg m²: Gymnasium's constant, whatever the masses and lengths."""
MAX_SPEEDS = (4 * math.pi, 9 * math.pi)


class Physics(eqx.Module):
    """A task: what is hidden, float32 scalars."""

    length1: Array
    """Of the first link, m; its centre of mass is in the middle."""
    length2: Array
    mass1: Array
    """kg"""
    mass2: Array
    torque: Array
    """What action 2 applies at the joint between the links, N m; action 0 as much the other way. Negative where the two are
    exchanged."""


@dataclasses.dataclass(frozen=True)
class Acrobot(HiddenPhysics):
    """Two links that hang from a bar (Sutton 1996), driven at the joint between them, whose physics must be found out.

    Three actions: a torque one way, none, the other way; a flipped task exchanges the two. Each step pays −1 until the tip
    has swung above the bar by a link's length (as Gymnasium has it: by the angles alone, as if both lengths were 1); that
    step pays 0, terminates and is success. The equations are those of Sutton and Barto's book, a step of 0.2 s by the
    classical Runge-Kutta method.

    The observation is the cosine and sine of both angles, and both velocities. There is no `optimal`: it is not known.
    """

    physics: ClassVar = Physics
    signed: ClassVar = "torque"
    gymnasium: ClassVar = (1.0, 1.0, 1.0, 1.0, 1.0)

    length1: Range = (0.8, 1.25)
    """Of the first link, m."""
    length2: Range = (0.8, 1.25)
    """Of the second link, m."""
    mass1: Range = (0.8, 1.25)
    """Of the first link, kg."""
    mass2: Range = (0.8, 1.25)
    """Of the second link, kg."""
    torque: Range = (0.9, 1.4)
    """Magnitude of the torque, N m."""
    flip_probability: float = 0.5
    """How probable it is that the two directions are exchanged, in all splits."""
    horizon: int = 500
    """Longest episode, in steps of 0.2 s."""
    episodes: int = 2
    """Episodes in a lifetime of learners that remember."""

    @property
    def spec(self) -> Spec:
        return self._spec("acrobot", 6, Discrete(3))

    def reset(self, key: Key[Array, ""], task: Physics) -> tuple[State, Float[Array, " 6"]]:
        state = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return state, observed(state)

    def step(
        self, key: Key[Array, ""], state: State, action: Int[Array, ""], task: Physics
    ) -> tuple[State, Outcome]:
        torque = (action - 1.0) * task.torque
        after = runge_kutta(lambda s: derivative(s, torque, task), state)
        limit = jnp.array(MAX_SPEEDS)
        after = jnp.concatenate([wrapped(after[:2]), jnp.clip(after[2:], -limit, limit)])
        above = -jnp.cos(after[0]) - jnp.cos(after[0] + after[1]) > 1.0
        reward = jnp.where(above, 0.0, -1.0)
        return after, Outcome(
            observed(after), reward, terminated=above, truncated=jnp.array(False), success=above
        )


def observed(state: State) -> Float[Array, " 6"]:
    """cos θ₁, sin θ₁, cos θ₂, sin θ₂, and both velocities."""
    θ1, θ2 = state[0], state[1]
    return jnp.concatenate([jnp.stack([jnp.cos(θ1), jnp.sin(θ1), jnp.cos(θ2), jnp.sin(θ2)]), state[2:]])


def derivative(state: State, torque: Float[Array, ""], task: Physics) -> State:
    """Of the state by time (Sutton and Barto 1998, §11.3)."""
    θ1, θ2, ω1, ω2 = state
    m1, m2, l1 = task.mass1, task.mass2, task.length1
    c1, c2 = task.length1 / 2, task.length2 / 2  # centres of mass
    d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * jnp.cos(θ2)) + 2 * MOMENT
    d2 = m2 * (c2**2 + l1 * c2 * jnp.cos(θ2)) + MOMENT
    φ2 = m2 * c2 * GRAVITY * jnp.sin(θ1 + θ2)
    φ1 = -m2 * l1 * c2 * ω2 * (ω2 + 2 * ω1) * jnp.sin(θ2) + (m1 * c1 + m2 * l1) * GRAVITY * jnp.sin(θ1) + φ2
    α2 = (torque + d2 / d1 * φ1 - m2 * l1 * c2 * ω1**2 * jnp.sin(θ2) - φ2) / (
        m2 * c2**2 + MOMENT - d2**2 / d1
    )
    α1 = -(d2 * α2 + φ1) / d1
    return jnp.stack([ω1, ω2, α1, α2])


def runge_kutta(f: Callable[[State], State], state: State) -> State:
    """A step of `TAU_SECONDS` by the classical method of fourth order."""
    τ = TAU_SECONDS
    k1 = f(state)
    k2 = f(state + τ / 2 * k1)
    k3 = f(state + τ / 2 * k2)
    k4 = f(state + τ * k3)
    return state + τ / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
