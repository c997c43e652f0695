"""CartPole with hidden physics. Its default task is Gymnasium's `CartPole-v1`, step by step."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.tasks.hidden_physics import HiddenPhysics, Range
from adaptax.types import Discrete, Outcome, Spec

State = Float[Array, " 4"]
"""Position (m), velocity (m/s), angle (rad), angular velocity (rad/s); also the observation."""

TAU_SECONDS = 0.02
MAX_POSITION_METRES = 2.4
MAX_ANGLE_RADIANS = math.radians(12)


class Physics(eqx.Module):
    """A task: what is hidden, float32 scalars."""

    gravity: Array
    """m/s²"""
    masscart: Array
    """kg"""
    masspole: Array
    """kg"""
    length: Array
    """Half of the pole's length, m."""
    force: Array
    """What action 1 pushes with, N; action 0 pushes as hard the other way. Negative where the actions are exchanged."""


@dataclasses.dataclass(frozen=True)
class CartPole(HiddenPhysics):
    """A pole on a cart (Barto et al. 1983) whose physics, and which action pushes which way, must be found out.

    One fixed linear controller balances every pole of the default ranges, so that hidden physics alone asks for no
    adaptation. Hence `flip_probability`: in a flipped task the two actions are exchanged, no single observation tells, and
    what balances one pole throws the other over. Pays 1 a step; an episode terminates where the cart is more than 2.4 m off
    or the pole more than 12° down.
    """

    physics: ClassVar = Physics
    signed: ClassVar = "force"
    gymnasium: ClassVar = (9.8, 1.0, 0.1, 0.5, 10.0)

    gravity: Range = (7.0, 13.0)
    """m/s²"""
    masscart: Range = (0.7, 1.5)
    """kg"""
    masspole: Range = (0.05, 0.3)
    """kg"""
    length: Range = (0.3, 0.9)
    """Half of the pole's length, m."""
    force: Range = (7.0, 13.0)
    """Magnitude of a push, N."""
    flip_probability: float = 0.5
    """How probable it is that the two actions are exchanged, in all splits."""
    horizon: int = 500
    """Longest episode, in steps of 0.02 s."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""

    @property
    def spec(self) -> Spec:
        return self._spec("cartpole", 4, Discrete(2))

    def reset(self, key: Key[Array, ""], task: Physics) -> tuple[State, State]:
        state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return state, state

    def step(
        self, key: Key[Array, ""], state: State, action: Int[Array, ""], task: Physics
    ) -> tuple[State, Outcome]:
        """One step of Euler's method on the equations of Florian 2007 without friction."""
        x, v, θ, ω = state
        force = jnp.where(action == 1, task.force, -task.force)
        mass = task.masscart + task.masspole
        moment = task.masspole * task.length
        push = (force + moment * ω**2 * jnp.sin(θ)) / mass
        α = (task.gravity * jnp.sin(θ) - jnp.cos(θ) * push) / (
            task.length * (4.0 / 3.0 - task.masspole * jnp.cos(θ) ** 2 / mass)
        )
        a = push - moment * α * jnp.cos(θ) / mass
        state = jnp.stack(
            [x + TAU_SECONDS * v, v + TAU_SECONDS * a, θ + TAU_SECONDS * ω, ω + TAU_SECONDS * α]
        )
        fallen = (jnp.abs(state[0]) > MAX_POSITION_METRES) | (jnp.abs(state[2]) > MAX_ANGLE_RADIANS)
        return state, Outcome(state, jnp.ones(()), terminated=fallen, truncated=jnp.array(False))

    def optimal(self, task: Physics) -> Float[Array, ""]:
        """`horizon`: the return of never falling.

        Over the default ranges and their `ood` a linear controller that is told the sign of the force attains it; over far
        wider ones it is an upper bound.
        """
        return jnp.array(self.horizon, jnp.float32)
