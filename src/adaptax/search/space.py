"""What is searched: settings of a learner's networks, so that what is found is a list of flags for `adaptax train`.

A candidate is a dictionary of *genes*, one choice each. Most genes are fields of the learner's `Config`; a depth and a width make
one field together, `hidden=(64, 64)`.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from adaptax.algorithms.base import Config
from adaptax.errors import AdaptaxError, near
from adaptax.types import Spec

Genes = dict[str, Any]

STACKS = {"hidden": ("depth", "width"), "policy_hidden": ("policy_depth", "policy_width")}
"""Fields that hold the units of several layers, and the two genes that make them."""

SIZES: dict[str, tuple[int, ...]] = {
    "depth": (1, 2, 3), "width": (16, 32, 64, 128), "hidden": (16, 32, 64, 128), "embedding": (0, 32, 64),
    "policy_depth": (0, 1, 2), "policy_width": (32, 64),
}  # fmt: skip
IMAGE_SIZES: dict[str, tuple[int, ...]] = {"depth": (2, 3, 4), "width": (16, 32, 64), "kernel": (3, 5)}
"""Of convolutions, which halve an image each: width is their channels."""
NAMED = ("cell", "activation", "normalization", "connections")
"""Fields that are searched where a learner has them, over all the choices that they allow."""


@dataclasses.dataclass(frozen=True)
class Space:
    """The choices of each gene."""

    choices: dict[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """Number of combinations."""
        return int(np.prod([len(values) for values in self.choices.values()]))

    def all(self) -> Iterator[Genes]:
        """Every candidate; those that make the same settings once."""
        met = set()
        for values in product(*self.choices.values()):
            genes = dict(zip(self.choices, values, strict=True))
            if identity(genes) not in met:
                met.add(identity(genes))
                yield genes

    def sample(self, rng: np.random.Generator) -> Genes:
        """Each gene drawn evenly among its choices."""
        return {name: _drawn(rng, values) for name, values in self.choices.items()}

    def mutate(self, rng: np.random.Generator, genes: Genes) -> Genes:
        """One gene, drawn evenly among those with a choice, has another value."""
        name = _drawn(rng, [name for name, values in self.choices.items() if len(values) > 1])
        others = [value for value in self.choices[name] if value != genes[name]]
        return genes | {name: _drawn(rng, others)}

    def crossover(self, rng: np.random.Generator, one: Genes, other: Genes) -> Genes:
        """Each gene of one of two parents, evenly (uniform crossover)."""
        return {name: (one if rng.random() < 0.5 else other)[name] for name in self.choices}

    def restricted(self, choices: Iterable[str]) -> Space:
        """With some genes' choices replaced: "depth=1,2" "activation=relu". Sizes may be any, names must be among those there.

        AdaptaxError where there is no such gene or choice.
        """
        found = dict(self.choices)
        for text in choices:
            name, _, values = text.partition("=")
            if name not in found:
                raise AdaptaxError(
                    f"There is nothing named '{name}' to choose; {near(name, found)}there are: {', '.join(found)}."
                )
            found[name] = tuple(dict.fromkeys(_read(name, value, found[name]) for value in values.split(",")))
        return Space(found)


def space_of(config: Config, spec: Spec) -> Space:
    """The space of a learner on a family: every size and kind of layer that its `Config` has a field for.

    AdaptaxError where it has none.
    """
    types = typing.get_type_hints(type(config))
    sizes = SIZES | IMAGE_SIZES if spec.images else SIZES
    choices: dict[str, tuple[Any, ...]] = {}
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in STACKS and isinstance(value, tuple):
            choices |= {gene: sizes[gene] for gene in STACKS[name]}
        elif name in ("hidden", "embedding") or (name == "kernel" and spec.images):
            choices[name] = sizes[name]
        elif name in NAMED and typing.get_origin(types[name]) is typing.Literal:
            choices[name] = _allowed(name, typing.get_args(types[name]), config, spec)
    if not any(len(values) > 1 for values in choices.values()):
        raise AdaptaxError(
            f"{type(config).__name__} has no network whose size or layers could be searched; choose another learner, such as maml."
        )
    return Space(choices)


def settings(genes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Config` that a candidate's genes set."""
    of_stacks = {gene for stack in STACKS.values() for gene in stack}
    fields = {name: value for name, value in genes.items() if name not in of_stacks}
    for field, (depth, width) in STACKS.items():
        if depth in genes:
            fields[field] = (genes[width],) * genes[depth]
    return fields


def identity(genes: Mapping[str, Any]) -> str:
    """Tells candidates apart by what they set: without layers, for instance, their width says nothing."""
    return json.dumps(settings(genes), sort_keys=True)


def described(genes: Mapping[str, Any]) -> str:
    """In a few words: "hidden 64 64, activation relu"."""
    words = {k: " ".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in settings(genes).items()}
    return ", ".join(f"{name} {value or '-'}" for name, value in words.items())


def _allowed(name: str, values: tuple[str, ...], config: Config, spec: Spec) -> tuple[str, ...]:
    """Without what means one of the others, and what the family or the learner forbids."""
    if name != "normalization":
        return values
    if getattr(config, "transductive", False):
        return ("batch",)
    return tuple(v for v in values if v != "auto" and (v != "batch" or spec.images))


def _read(name: str, text: str, usual: tuple[Any, ...]) -> Any:
    """A choice as it is written on the command line."""
    if isinstance(usual[0], str):
        if text not in usual:
            raise AdaptaxError(f"{name} can be {', '.join(usual)}, not '{text}'.")
        return text
    if not text.isdigit():
        raise AdaptaxError(f"{name} takes whole numbers, like {name}={usual[0]},{usual[-1]}, not '{text}'.")
    return int(text)


def _drawn(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]
