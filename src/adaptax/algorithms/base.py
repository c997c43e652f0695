"""What an algorithm is: a learner, how its experience is laid out, and one meta-update."""

from __future__ import annotations

import dataclasses
import math
import numbers
import typing
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.types import Behaviour, Layout, Metrics, Spec, TrainState


class Algorithm(eqx.Module):
    """A method of meta-training, built for one `Spec` by its `Config`. Pure functions; no input or output."""

    learner: eqx.AbstractVar[Learner]
    layout: eqx.AbstractVar[Layout]
    tasks: eqx.AbstractVar[int]
    """B: tasks in one meta-update."""

    @property
    def collector(self) -> Learner:
        """What acts in meta-training, with `Behaviour.theta`: the learner, unless it learns from the experience of another."""
        return self.learner

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Of what is trained of theta."""
        raise NotImplementedError

    def init(self, key: Key[Array, ""]) -> TrainState:
        """The state before the first update."""
        k_theta, k_run = jax.random.split(key)
        theta = self.learner.init(k_theta)
        params = eqx.filter(theta, self.learner.trainable(theta))
        return TrainState(theta, self.optimizer.init(params), k_run, jnp.zeros((), jnp.int32))

    def behave(self, state: TrainState, key: Key[Array, ""]) -> Behaviour:
        """What to collect with."""
        return Behaviour(state.theta)

    def learn(self, state: TrainState, lifetime: Any, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        """One meta-update from what was collected: a `Lifetime`, or a `FewShot` where the family is supervised.

        `TrainState.updates` is counted by the caller."""
        raise NotImplementedError

    @property
    def keeps_on_disk(self) -> bool:
        """Whether there is something to do after each meta-update in `kept`, outside of jitted code."""
        return False

    def kept(self, state: TrainState, folder: Path) -> TrainState:
        """After a meta-update: the next state, with what a store in `folder` gives for what the last one brought.

        May come again with the same state, after an interrupt, and gives the same then.
        """
        raise NotImplementedError

    def check_kept(self, state: TrainState, folder: Path) -> None:
        """AdaptaxError where what `kept` has left in `folder` does not belong to this state; before anything is trained."""
        raise NotImplementedError

    def test_layout(self, episodes: int | None) -> Layout:
        """How a new task is met: the layout that spends about `episodes` episodes on it (None: the algorithm's habit).

        Every episode completes: T = episodes of a stream × the longest episode.
        """
        raise NotImplementedError


ROUNDS = 11
"""On a new task, where nothing else is asked for: ten that are learned from, and the one that they lead to."""


def rounds_for(layout: Layout, episodes: int | None, rounds: int = ROUNDS) -> Layout:
    """`layout` with an episode in each stream of a round, and with as many rounds, at least one, as spend so many episodes on a
    task; None: with `rounds`."""
    if episodes is not None:
        rounds = max(1, -(-episodes // layout.streams))
    return dataclasses.replace(layout, rounds=rounds, episodes=1)


SHARES = ("gamma", "gae_lambda", "epsilon", "last_epsilon", "within", "across")
"""Fields that are discounts, probabilities or shares of the way, in every algorithm."""


@runtime_checkable
class Config(Protocol):
    """A frozen dataclass of hyperparameters with a docstring under each field; `build` makes the algorithm."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def build(self, spec: Spec) -> Algorithm: ...


def require_environments(spec: Spec, method: str) -> None:
    """AdaptaxError where a family is supervised, for methods that learn from rewards alone."""
    if spec.supervised:
        raise AdaptaxError(
            f"{method} learns from rewards, and the tasks of '{spec.name}' are labelled examples; `adaptax list` shows "
            "which algorithms learn from these."
        )


def check_transductive(transductive: bool, spec: Spec) -> bool:
    """The same; AdaptaxError where it is asked for and nothing is normalised over queries."""
    if transductive and not spec.images:
        raise AdaptaxError(
            f"'{spec.name}' has no labelled images, whose queries could be normalised together; leave transductive out."
        )
    return transductive


def check_hyperparameters(config: Config) -> None:
    """AdaptaxError for a value of another type than its field's; for a count below 1 (below 0 where 0 is the default;
    below `least` where the field's metadata says so); for any other number that is negative, NaN or infinite; for a discount or
    a share above 1; for a temperature of 0; for fewer tasks than parts."""
    types = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, wanted = getattr(config, field.name), types[field.name]
        if typing.get_origin(wanted) is Literal:
            if value not in typing.get_args(wanted):
                choices = " or ".join(repr(choice) for choice in typing.get_args(wanted))
                raise AdaptaxError(f"{field.name} must be {choices}, not {value!r}.")
            continue
        several = typing.get_origin(wanted) is tuple
        names = typing.get_args(typing.get_args(wanted)[0]) if several else ()
        if names:
            if not isinstance(value, tuple) or not set(value) <= set(names):
                raise AdaptaxError(f"{field.name} must be a tuple of {', '.join(names)}, not {value!r}.")
            continue
        if several and not isinstance(value, tuple):
            raise AdaptaxError(
                f"{field.name} must be a tuple of whole numbers, like (64, 64), not {value!r}."
            )
        for x in value if several else (value,):
            _check_number(field, typing.get_args(wanted)[0] if several else wanted, x)
    tasks, minibatches = getattr(config, "tasks", 1), getattr(config, "minibatches", 1)
    # PPO's epochs divide the tasks into minibatches; MER's are of transitions.
    if hasattr(config, "epochs") and tasks < minibatches:
        raise AdaptaxError(
            f"{tasks} task{'s' * (tasks > 1)} cannot be divided into {minibatches} minibatches; give more tasks."
        )


def _check_number(field: dataclasses.Field[Any], wanted: type, x: Any) -> None:
    if wanted is bool:
        if not isinstance(x, bool):
            raise AdaptaxError(f"{field.name} must be True or False, not {x!r}.")
        return
    kind, name = (numbers.Integral, "a whole number") if wanted is int else (numbers.Real, "a number")
    if isinstance(x, bool) or not isinstance(x, kind):
        raise AdaptaxError(f"{field.name} must be {name}, not {x!r}.")
    usual = 1 if wanted is int and field.default != 0 else 0
    least, number = field.metadata.get("least", usual), float(x)
    if not number >= least or number == math.inf:
        raise AdaptaxError(
            f"{field.name} must be {least} or more{', and finite' * (number == math.inf)}, not {x}."
        )
    if field.name in SHARES and number > 1:
        raise AdaptaxError(f"{field.name} must be at most 1, not {x}.")
    if field.name == "temperature" and number == 0:
        raise AdaptaxError("temperature must be above 0: it is divided by.")
