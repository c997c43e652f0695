"""What an algorithm is: a learner, how its experience is laid out, and one meta-update."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Key

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

    __dataclass_fields__: dict[str, dataclasses.Field]

    def build(self, spec: Spec) -> Algorithm: ...
