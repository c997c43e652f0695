"""Two environments in one family: a task is a CartPole or a mountain car, with hidden physics."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax import trees
from adaptax.errors import AdaptaxError
from adaptax.tasks import cartpole, mountain_car
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.mountain_car import MountainCar
from adaptax.types import Discrete, Outcome, Spec

STATE, ACTIONS = 4, 3
POLE_RANGE = (2.4, 2.0, 0.2, 2.0)
"""What a pole's position, velocity, angle and angular velocity are divided by: about their greatest while it stands."""
CAR_CENTRE, CAR_RANGE = (-0.3, 0.0), (0.9, 0.07)
"""What is taken from a car's position and velocity, and what they are divided by then, so that both lie in [−1, 1]."""


class Mixed(eqx.Module):
    """A task: which environment, and the physics of both, of which one is in use."""

    is_car: Bool[Array, ""]
    pole: cartpole.Physics
    car: mountain_car.Physics


class Progress(eqx.Module):
    """Where an episode stands."""

    padded: Float[Array, " 4"]
    """The environment's own state, zeros behind it."""
    elapsed: Int[Array, ""]
    """Steps taken."""


@dataclasses.dataclass(frozen=True)
class CartPoleMountainCar(TaskFamily):
    """`CartPole` and `MountainCar` mixed: environments that share neither dynamics, nor sizes, nor the sign of the reward.

    An observation has 5 numbers: the environment's own, in units of their range there, padded with zeros to 4 of them (a
    mountain car's are position, velocity, 0, 0), and 1 for a mountain car. Without units one entry would hold a pole's
    velocity of 0.5 and a car's of 0.02, and no network saw the latter. There are 3 actions; CartPole has two, and its
    `action_mask` forbids the third. Mask and last number say which environment it is; neither says more, and which way the
    actions work must be found out in either. Dynamics, draws and rewards are those of the two families, whose other fields
    have their defaults here: 1 a step of CartPole, −1 a step of the car.

    Neither `success` nor `optimal` is given, as CartPole has no success and the car no optimal return. `ood`: the `ood` of
    the family that the task is of.
    """

    car_probability: float = 0.5
    """How probable it is that a task is a mountain car, in all splits."""
    flip_probability: float = 0.5
    """How probable it is that a task's two directions are exchanged, in all splits."""
    cartpole_horizon: int = 200
    """Longest episode of CartPole, in steps."""
    car_horizon: int = 200
    """Longest episode of the mountain car, in steps."""
    episodes: int = 3
    """Episodes in a lifetime of learners that remember."""
    shaping: bool = True
    """In mountain cars meta-training maximises the shaped reward; False: −1 a step."""
    shaping_scale: float = 100.0
    """As `MountainCar.shaping_scale`."""
    shaping_gamma: float = 0.99
    """As `MountainCar.shaping_gamma`."""

    def __post_init__(self):
        if not 0 <= self.car_probability <= 1:
            raise AdaptaxError(f"car_probability must be between 0 and 1, not {self.car_probability}.")
        _ = self.pole, self.car  # which check the other fields

    @property
    def pole(self) -> CartPole:
        return CartPole(
            flip_probability=self.flip_probability, horizon=self.cartpole_horizon, episodes=self.episodes
        )

    @property
    def car(self) -> MountainCar:
        return MountainCar(
            flip_probability=self.flip_probability, horizon=self.car_horizon, episodes=self.episodes,
            shaping=self.shaping, shaping_scale=self.shaping_scale, shaping_gamma=self.shaping_gamma,
        )  # fmt: skip

    @property
    def spec(self) -> Spec:
        return Spec(
            name="cartpole-mountain-car",
            observation=(STATE + 1,),
            action=Discrete(ACTIONS),
            episode_steps=max(self.cartpole_horizon, self.car_horizon),
            episodes=self.episodes,
            features=1 + self.pole.spec.features + self.car.spec.features,
            masked=True,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Mixed:
        k_which, k_pole, k_car = jax.random.split(key, 3)
        is_car = jax.random.bernoulli(k_which, self.car_probability)
        return Mixed(is_car, self.pole.sample(k_pole, split), self.car.sample(k_car, split))

    def reset(self, key: Key[Array, ""], task: Mixed) -> tuple[Progress, Float[Array, " 5"]]:
        pole, _ = self.pole.reset(key, task.pole)
        car, _ = self.car.reset(key, task.car)
        padded = jnp.where(task.is_car, pad(car), pole)
        return Progress(padded, jnp.int32(0)), observed(padded, task)

    def step(
        self, key: Key[Array, ""], state: Progress, action: Int[Array, ""], task: Mixed
    ) -> tuple[Progress, Outcome]:
        """Both environments take the step, and that of the task counts. CartPole's third action is its first."""
        _, pole = self.pole.step(key, state.padded, action, task.pole)
        _, car = self.car.step(key, state.padded[:2], action, task.car)
        car = dataclasses.replace(car, obs=pad(car.obs), success=None)
        if self.shaping:
            pole = dataclasses.replace(pole, shaped_reward=pole.reward)
        outcome = trees.where(task.is_car, car, pole)
        elapsed = state.elapsed + 1
        horizon = jnp.where(task.is_car, self.car_horizon, self.cartpole_horizon)
        late = (elapsed >= horizon) & ~outcome.terminated
        seen = dataclasses.replace(outcome, obs=observed(outcome.obs, task), truncated=late)
        return Progress(outcome.obs, elapsed), seen

    def action_mask(self, state: Progress, task: Mixed) -> Bool[Array, " 3"]:
        return jnp.array([True, True, False]).at[2].set(task.is_car)

    def features(self, task: Mixed) -> Float[Array, " F"]:
        """1 for a mountain car and −1 for CartPole; CartPole's features, or zeros; the mountain car's, or zeros."""
        pole = jnp.where(task.is_car, 0.0, self.pole.features(task.pole))
        car = jnp.where(task.is_car, self.car.features(task.car), 0.0)
        which = jnp.where(task.is_car, 1.0, -1.0)
        return jnp.concatenate([which[None], pole, car])


def pad(state: mountain_car.State) -> Float[Array, " 4"]:
    """With zeros behind."""
    return jnp.pad(state, (0, STATE - len(state)))


def observed(padded: Float[Array, " 4"], task: Mixed) -> Float[Array, " 5"]:
    """In units of the environment's ranges, and which environment it is."""
    car = pad((padded[:2] - jnp.array(CAR_CENTRE)) / jnp.array(CAR_RANGE))
    own = jnp.where(task.is_car, car, padded / jnp.array(POLE_RANGE))
    return jnp.append(own, task.is_car.astype(jnp.float32))
