"""What families of simulators with hidden physics share: how tasks are drawn from ranges, and how they are told."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Space, Spec

Range = tuple[float, float]


class HiddenPhysics(TaskFamily):
    """A simulator whose physics, and which way its actions work, must be found out.

    A task is an instance of `physics`, whose leaves are float32 scalars. Its parameters are drawn log-uniformly from the
    family's ranges, the fields of the same names. In a share `flip_probability` of the tasks, in all splits, the
    parameter `signed` is negative: actions work the other way round.

    `ood`: every parameter outside its range, below or above, by up to half its width on the logarithmic scale; a range of
    one number has no outside.
    """

    physics: ClassVar[type[eqx.Module]]
    signed: ClassVar[str]
    gymnasium: ClassVar[tuple[float, ...]]
    """The physics of Gymnasium's environment, in the order of `physics`."""

    # Fields of every such family, which each declares for itself: their order, defaults and words are its own.
    flip_probability: float
    horizon: int
    episodes: int

    def __post_init__(self):
        name = type(self).__name__
        for field, (low, high) in self._ranges.items():
            if not 0 < low <= high < math.inf:
                raise AdaptaxError(
                    f"{field} of {name} must be a range of two positive numbers, the smaller first, not {(low, high)}."
                )
        if not 0 <= self.flip_probability <= 1:
            raise AdaptaxError(f"flip_probability must be between 0 and 1, not {self.flip_probability}.")
        if self.horizon < 1 or self.episodes < 1:
            raise AdaptaxError(
                f"{name} needs at least one step and one episode, "
                f"not horizon={self.horizon} and episodes={self.episodes}."
            )

    @classmethod
    def default_task(cls) -> Any:
        """The physics of Gymnasium's environment."""
        return cls.physics(*(jnp.array(x, jnp.float32) for x in cls.gymnasium))

    @classmethod
    def _parameters(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls.physics)]

    @property
    def _ranges(self) -> dict[str, Range]:
        """In the order of `physics`."""
        return {name: getattr(self, name) for name in self._parameters()}

    @property
    def _log_ranges(self) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        low, high = jnp.log(jnp.array(list(self._ranges.values()))).T
        return low, high

    def _spec(self, name: str, observation: int, action: Space) -> Spec:
        return Spec(
            name=name,
            observation=(observation,),
            action=action,
            episode_steps=self.horizon,
            episodes=self.episodes,
            features=len(self._ranges) + 1,
            ood=any(low < high for low, high in self._ranges.values()),
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Any:
        k_values, k_side, k_flip = jax.random.split(key, 3)
        low, high = self._log_ranges
        share = 1.0 - jax.random.uniform(k_values, low.shape)  # in (0, 1]: `ood` leaves the range
        if split == "ood":
            beyond = share * (high - low) / 2
            logs = jnp.where(jax.random.bernoulli(k_side, shape=low.shape), high + beyond, low - beyond)
        else:
            logs = low + share * (high - low)
        flip = jax.random.bernoulli(k_flip, self.flip_probability)
        signed = self._parameters().index(self.signed)
        return self.physics(*jnp.exp(logs).at[signed].multiply(jnp.where(flip, -1.0, 1.0)))

    def features(self, task: Any) -> Float[Array, " F"]:
        """The logarithms of the parameters, -1..1 over their ranges, and the sign of the one that has a sign."""
        low, high = self._log_ranges
        logs = jnp.log(jnp.abs(jnp.stack(jax.tree.leaves(task))))
        # A range of one number tells nothing: 0.
        scaled = jnp.where(high > low, (2 * logs - low - high) / (high - low), 0.0)
        return jnp.append(scaled, jnp.sign(getattr(task, self.signed)))


def wrapped(angle: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The same angle in -π..π."""
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))
