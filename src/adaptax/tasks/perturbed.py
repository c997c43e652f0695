"""Physics that change in mid-episode: an actuator that works the other way round from now on, a mass that doubles."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from adaptax import trees
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.hidden_physics import HiddenPhysics
from adaptax.types import Outcome, Spec


@dataclasses.dataclass(frozen=True)
class Perturbed(TaskFamily):
    """A family of simulators, of which one parameter is multiplied from a certain step of each episode on.

    Tasks are those of the family. Nothing tells that, or when, they change: what a learner knew of the task is wrong from then on.
    """

    family: HiddenPhysics
    """What is changed."""
    parameter: str
    """Of the family's `physics`."""
    factor: float
    """By which it is multiplied: −1 turns an actuator round, 0.4 weakens it, 2 doubles a mass."""
    at: int
    """The first step of an episode that the change is felt in."""

    def __post_init__(self):
        if not isinstance(self.family, HiddenPhysics):
            raise AdaptaxError(
                f"'{self.family.spec.name}' has no physics that could change; take cartpole, pendulum, acrobot or a mountain car."
            )
        if self.at < 0 or not math.isfinite(self.factor):
            raise AdaptaxError(f"at must be 0 or more and factor finite, not {self.at} and {self.factor}.")
        names = [field.name for field in dataclasses.fields(self.family.physics)]
        if self.parameter not in names:
            raise AdaptaxError(
                f"The physics of '{self.family.spec.name}' are {', '.join(names)}, among which is no '{self.parameter}'."
            )

    @property
    def spec(self) -> Spec:
        spec = self.family.spec
        return dataclasses.replace(
            spec, name=f"{spec.name}, {self.parameter} × {self.factor:g} from step {self.at}"
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Any:
        return self.family.sample(key, split)

    def features(self, task: Any) -> Array:
        """Those of the task before the change."""
        return self.family.features(task)

    def changed(self, task: Any) -> Any:
        """What the task is after the change."""
        return eqx.tree_at(lambda t: getattr(t, self.parameter), task, replace_fn=lambda x: self.factor * x)

    def reset(self, key: Key[Array, ""], task: Any) -> tuple[tuple[Any, Int[Array, ""]], Array]:
        state, obs = self.family.reset(key, task)
        return (state, jnp.zeros((), jnp.int32)), obs

    def step(
        self, key: Key[Array, ""], state: tuple[Any, Int[Array, ""]], action: Array, task: Any
    ) -> tuple[tuple[Any, Int[Array, ""]], Outcome]:
        inner, elapsed = state
        now = trees.where(elapsed >= self.at, self.changed(task), task)
        inner, outcome = self.family.step(key, inner, action, now)
        return (inner, elapsed + 1), outcome
