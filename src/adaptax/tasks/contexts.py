"""Parameters of an environment that vary from task to task, by name and range: how they are written, drawn and told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax.errors import AdaptaxError, near, short
from adaptax.tasks.base import Split
from adaptax.tasks.following import FOLLOWS

MOST_COMBINATIONS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Context:
    """A parameter that varies."""

    name: str
    low: float
    high: float
    ood: tuple[float, float] | None
    """Its range in the `ood` split; None: not given."""
    whole: bool
    """Whether its values are whole numbers, both ends included."""

    @property
    def logarithmic(self) -> bool:
        """Ranges of positive real numbers are drawn from uniformly on the logarithmic scale, all others on their own."""
        return self.low > 0 and not self.whole


@dataclasses.dataclass(frozen=True)
class Contexts:
    """The parameters that make a task. A task is their values, float32[P], in this order.

    Training and test tasks: every parameter anywhere in its range, by separate keys. Where all are whole numbers, there are
    only so many tasks, a quarter of which are for testing.

    `ood`: the parameters that have an `ood` range are drawn from it, all others as in training. Where none has one, every
    real parameter lies outside its range, below or above, by up to half its width.
    """

    parameters: tuple[Context, ...]

    @property
    def has_ood(self) -> bool:
        return any(p.ood is not None or not p.whole for p in self.parameters)

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " P"]:
        """The values of a task of a split."""
        k_values, k_side, k_which = jax.random.split(key, 3)
        inside = self._inside(k_values, k_which, split)
        if split != "ood":
            return inside
        k_values = jax.random.fold_in(k_values, 1)
        share = 1.0 - jax.random.uniform(k_values, inside.shape)  # in (0, 1]: it leaves the range
        above = jax.random.bernoulli(k_side, shape=inside.shape)
        own = any(p.ood is not None for p in self.parameters)
        values = []
        for i, p in enumerate(self.parameters):
            if p.ood is not None:
                values.append(_between(p, *p.ood, share[i]))
            elif own or p.whole:
                values.append(inside[i])
            else:
                low, high = _scaled(p, p.low), _scaled(p, p.high)
                beyond = share[i] * (high - low) / 2
                values.append(_unscaled(p, jnp.where(above[i], high + beyond, low - beyond)))
        return jnp.stack(values)

    def features(self, values: Float[Array, " P"]) -> Float[Array, " P"]:
        """The parameters on the scale that they are drawn on, -1..1 over their ranges."""
        told = []
        for p, value in zip(self.parameters, values, strict=True):
            low, high = _scaled(p, p.low), _scaled(p, p.high)
            told.append((2 * _scaled(p, value) - low - high) / (high - low))
        return jnp.stack(told)

    def values(self, task: Any) -> dict[str, Any]:
        """By name: as many numbers as the task has, whole ones as integers."""
        return {
            p.name: value.astype(jnp.int32) if p.whole else value
            for p, value in zip(self.parameters, task, strict=True)
        }

    def _inside(self, key: Key[Array, ""], k_which: Key[Array, ""], split: Split) -> Float[Array, " P"]:
        if all(p.whole for p in self.parameters):
            table = jnp.asarray(self._combinations()[split == "test"], jnp.float32)
            return table[jax.random.randint(k_which, (), 0, len(table))]
        share = 1.0 - jax.random.uniform(key, (len(self.parameters),))
        return jnp.stack([_between(p, p.low, p.high, share[i]) for i, p in enumerate(self.parameters)])

    def _combinations(self) -> tuple[np.ndarray, np.ndarray]:
        """All tasks of whole numbers: those for training, and the quarter for testing."""
        sizes = [int(p.high - p.low) + 1 for p in self.parameters]
        order = np.random.default_rng(0).permutation(math.prod(sizes))
        table = np.stack(np.unravel_index(order, sizes), 1) + [int(p.low) for p in self.parameters]
        tests = max(1, len(table) // 4)
        return table[tests:], table[:tests]


def read_contexts(where: str, known: Mapping[str, Any], vary: Iterable[str], ood: Iterable[str]) -> Contexts:
    """The contexts that `NAME=LOW:HIGH` and the like name.

    `where`: the environment, in messages. `known`: its parameters' present values. AdaptaxError for what is written or named
    wrongly, is no single number, or follows from others.
    """
    ranges, beyond = _read(vary), _read(ood)
    names = _numbers(known)
    if not names:
        raise AdaptaxError(
            f"{where} has no parameters that are numbers, and so none that could vary; take another one."
        )
    if not ranges:
        raise AdaptaxError(
            f"No parameter of {where} varies; name some and their ranges, as in {names[0]}=0.5:2: there are "
            f"{', '.join(names)}."
        )
    for name in beyond.keys() - ranges.keys():
        raise AdaptaxError(
            f"'{name}' has a range for ood, but does not vary in training; name it in vary too."
        )
    found = []
    for name, (low, high) in ranges.items():
        _require_number(where, known, name)
        whole = is_whole(known[name]) and low == int(low) and high == int(high)
        if not low < high:
            raise AdaptaxError(
                f"The range of '{name}' runs from {low:g} to {high:g}; give the smaller number first."
            )
        if name in beyond:
            _require_outside(name, (low, high), beyond[name])
        found.append(Context(name, low, high, beyond.get(name), whole))
    contexts = Contexts(tuple(found))
    if all(p.whole for p in found) and math.prod(int(p.high - p.low) + 1 for p in found) > MOST_COMBINATIONS:
        raise AdaptaxError(
            f"The whole numbers of {where} that vary have more than {MOST_COMBINATIONS:,} combinations; narrow their ranges."
        )
    return contexts


def _read(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        try:
            low, high = (float(number) for number in numbers.split(":"))
        except ValueError:
            low = high = math.nan
        if not name or not math.isfinite(low + high):
            raise AdaptaxError(
                f"'{text}' is no range; write NAME=LOW:HIGH with two numbers, as in gravity=5:15."
            )
        if name in ranges:
            raise AdaptaxError(f"'{name}' is given two ranges; leave one of them out.")
        ranges[name] = low, high
    return ranges


def _require_number(where: str, known: Mapping[str, Any], name: str) -> None:
    if name not in known:
        raise AdaptaxError(
            f"{where} has no parameter '{name}'; {near(name, known)}there are: {', '.join(_numbers(known))}."
        )
    if name in FOLLOWS and set(FOLLOWS[name][1:]) <= known.keys():
        _, a, b = FOLLOWS[name]
        raise AdaptaxError(f"'{name}' of {where} follows from {a} and {b}; vary these.")
    if name not in _numbers(known):
        raise AdaptaxError(
            f"'{name}' of {where} is no single number but {short(known[name])}; vary one of {', '.join(_numbers(known))}."
        )


def _require_outside(name: str, training: tuple[float, float], ood: tuple[float, float]) -> None:
    (low, high), (below, above) = training, ood
    if not below < above:
        raise AdaptaxError(
            f"The ood range of '{name}' runs from {below:g} to {above:g}; give the smaller number first."
        )
    if below < high and above > low:
        raise AdaptaxError(
            f"The ood range of '{name}', {below:g} to {above:g}, overlaps that of training, {low:g} to {high:g}; "
            "let it lie outside."
        )


def _numbers(known: Mapping[str, Any]) -> list[str]:
    """Those that could vary."""
    return [
        name
        for name, value in known.items()
        if isinstance(value, int | float | np.generic | np.ndarray | Array)
        and np.ndim(value) == 0
        and np.asarray(value).dtype.kind in "fiu"
        and name not in FOLLOWS
    ]


def is_whole(value: Any) -> bool:
    """Whether a number is of a type of whole numbers."""
    return np.asarray(value).dtype.kind in "iu"


def _scaled(p: Context, value: Any) -> Array:
    """On the scale that a parameter is drawn on."""
    return jnp.log(value) if p.logarithmic else jnp.asarray(value, jnp.float32)


def _unscaled(p: Context, scaled: Array) -> Array:
    return jnp.exp(scaled) if p.logarithmic else scaled


def _between(p: Context, low: float, high: float, share: Float[Array, ""]) -> Float[Array, ""]:
    """At a share in (0, 1] of the way, on the parameter's scale; whole numbers are all as probable."""
    if p.whole:
        return jnp.minimum(low + jnp.floor((1.0 - share) * (high - low + 1)), high)
    a, b = _scaled(p, low), _scaled(p, high)
    return _unscaled(p, a + share * (b - a))
