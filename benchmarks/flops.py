"""Floating-point operations of the matrix products in a program, counted from its jaxpr with the trip counts of its scans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax


def matmul_flops(f: Callable[..., Any], *args: Any, while_trips: int = 1) -> int:
    """FLOPs of all `dot_general`s in one call of `f`; a while loop of unknown length counts `while_trips` times.

    Elementwise work is not counted, so a fraction of the matmul peak is a lower bound of how busy the machine is.
    """
    return _count(jax.make_jaxpr(f)(*args).jaxpr, while_trips)


def _count(jaxpr: Any, while_trips: int) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contract, _), _ = eqn.params["dimension_numbers"]
            lhs, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(lhs[i] for i in contract)
            continue
        times = {"scan": eqn.params.get("length", 1), "while": while_trips}.get(eqn.primitive.name, 1)
        total += times * sum(_count(inner, while_trips) for inner in _inner(eqn.params))
    return total


def _inner(params: dict[str, Any]) -> list[Any]:
    """The jaxprs in an equation's parameters."""
    found = []
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                found.append(item)
    return found
