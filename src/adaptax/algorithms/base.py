"""What an algorithm is: a learner, how its experience is laid out, and one meta-update."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Key

from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.types import Behaviour, Layout, Lifetime, Metrics, Spec, TrainState


class Algorithm(eqx.Module):
    """A method of meta-training, built for one `Spec` by its `Config`. Pure functions; no input or output."""

    learner: eqx.AbstractVar[Learner]
    layout: eqx.AbstractVar[Layout]
    tasks: eqx.AbstractVar[int]
    """B: tasks in one meta-update."""

    def init(self, key: Key[Array, ""]) -> TrainState:
        """The state before the first update."""
        raise NotImplementedError

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        """What to collect with."""
        return Behaviour(state.theta)

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        """One meta-update from what was collected. `TrainState.updates` is counted by the caller."""
        raise NotImplementedError

    def test_layout(self, episodes: int | None) -> Layout:
        """How a new task is met: the layout that spends about `episodes` episodes on it (None: the algorithm's habit).

        Every episode completes: T = episodes of a stream × the longest episode.
        """
        raise NotImplementedError


@runtime_checkable
class Config(Protocol):
    """A frozen dataclass of hyperparameters with a docstring under each field; `build` makes the algorithm."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def build(self, spec: Spec) -> Algorithm: ...


def check_hyperparameters(config: Config) -> None:
    """AdaptaxError for a count below 1 (below 0 where 0 is the default) and for any other number that is negative or NaN."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for x in value if isinstance(value, tuple) else (value,):
            least = 1 if isinstance(x, int) and field.default != 0 else 0
            if not isinstance(x, bool | str) and not x >= least:
                raise AdaptaxError(f"{field.name} must be {least} or more, not {x}.")
    tasks, minibatches = getattr(config, "tasks", 1), getattr(config, "minibatches", 1)
    if tasks < minibatches:
        raise AdaptaxError(
            f"{tasks} tasks cannot be divided into {minibatches} minibatches; give more tasks."
        )
