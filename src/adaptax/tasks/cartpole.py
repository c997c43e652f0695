"""CartPole with hidden physics. Its default task is Gymnasium's `CartPole-v1`, step by step."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec

Range = tuple[float, float]
State = Float[Array, " 4"]

TAU_SECONDS = 0.02
MAX_POSITION_METRES = 2.4
MAX_ANGLE_RADIANS = 12 * 2 * math.pi / 360


class Physics(eqx.Module):
    """A task: what is hidden. All float32 scalars."""

    gravity: Array
    """m/s²"""
    masscart: Array
    """kg"""
    masspole: Array
    """kg"""
    length: Array
    """Half of the pole's length, m."""
    force: Array
    """N; negative where the two actions are exchanged."""


@dataclasses.dataclass(frozen=True)
class CartPole(TaskFamily):
    """A pole on a cart (Barto et al. 1983) whose physics, and which action pushes which way, must be found out.

    One robust controller balances every pole of the usual ranges, so physics alone asks for no adaptation. What does is
    `flip_probability`: in a flipped task the two actions are exchanged, and the observation does not tell.
    ood: physical parameters up to half as far again beyond both ends of their ranges, on a logarithmic scale.
    """

    gravity: Range = (7.0, 13.0)
    masscart: Range = (0.7, 1.5)
    masspole: Range = (0.05, 0.3)
    length: Range = (0.3, 0.9)
    force: Range = (7.0, 13.0)
    flip_probability: float = 0.5
    """How probable it is that the two actions are exchanged."""
    horizon: int = 200
    """Longest episode, in steps; 500 in `CartPole-v1`."""

    @property
    def spec(self) -> Spec:
        return Spec(
            name="cartpole",
            observation=(4,),
            action=Discrete(2),
            episode_steps=self.horizon,
            episodes=3,
            features=5,
        )

    @staticmethod
    def default_task() -> Physics:
        """The physics of Gymnasium's `CartPole-v1`."""
        return Physics(*(jnp.array(x, jnp.float32) for x in (9.8, 1.0, 0.1, 0.5, 10.0)))

    @property
    def _log_ranges(self) -> tuple[Array, Array]:
        ranges = (self.gravity, self.masscart, self.masspole, self.length, self.force)
        low, high = jnp.log(jnp.array(ranges)).T
        return low, high

    def sample(self, key: Key[Array, ""], split: Split) -> Physics:
        k_values, k_side, k_flip = jax.random.split(key, 3)
        low, high = self._log_ranges
        u = jax.random.uniform(k_values, (5,))
        if split == "ood":
            half = (high - low) / 2
            above = jax.random.bernoulli(k_side, shape=(5,))
            logs = jnp.where(above, high + u * half, low - u * half)
        else:
            logs = low + u * (high - low)
        values = jnp.exp(logs)
        sign = jnp.where(jax.random.bernoulli(k_flip, self.flip_probability), -1.0, 1.0)
        return Physics(values[0], values[1], values[2], values[3], sign * values[4])

    def reset(self, key: Key[Array, ""], task: Physics) -> tuple[State, State]:
        state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return state, state

    def step(
        self, key: Key[Array, ""], state: State, action: Int[Array, ""], task: Physics
    ) -> tuple[State, Outcome]:
        """Euler's method on the equations of Florian 2007, eq. 23-24, without friction."""
        x, v, θ, ω = state
        force = jnp.where(action == 1, task.force, -task.force)
        mass = task.masscart + task.masspole
        pole = task.masspole * task.length
        push = (force + pole * ω**2 * jnp.sin(θ)) / mass
        α = (task.gravity * jnp.sin(θ) - jnp.cos(θ) * push) / (
            task.length * (4.0 / 3.0 - task.masspole * jnp.cos(θ) ** 2 / mass)
        )
        a = push - pole * α * jnp.cos(θ) / mass
        state = jnp.stack([x + TAU_SECONDS * v, v + TAU_SECONDS * a, θ + TAU_SECONDS * ω, ω + TAU_SECONDS * α])
        fallen = (jnp.abs(state[0]) > MAX_POSITION_METRES) | (jnp.abs(state[2]) > MAX_ANGLE_RADIANS)
        return state, Outcome(state, jnp.ones(()), terminated=fallen, truncated=jnp.array(False))

    def features(self, task: Physics) -> Float[Array, " 5"]:
        """The logarithms of the parameters, -1..1 over their ranges; the force's place carries its sign instead."""
        low, high = self._log_ranges
        values = jnp.stack([task.gravity, task.masscart, task.masspole, task.length, jnp.abs(task.force)])
        scaled = 2 * (jnp.log(values) - low) / (high - low) - 1
        return scaled.at[4].set(jnp.sign(task.force))
