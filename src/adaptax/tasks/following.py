"""Parameters of environments that follow from others: what a simulator computes once, when it is made, and reads ever after.

Imports no JAX, so that worker processes start fast.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

FOLLOWS: dict[str, tuple[Callable[[Any, Any], Any], str, str]] = {
    "total_mass": (operator.add, "masscart", "masspole"),
    "polemass_length": (operator.mul, "masspole", "length"),
}
"""Of CartPole, in gymnax as in Gymnasium: without them a heavier cart would move like the old one."""


def with_following(known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and those of the parameters that follow from them. `known`: all present values."""
    now = {**known, **values}
    following = {
        name: of(now[a], now[b])
        for name, (of, a, b) in FOLLOWS.items()
        if {name, a, b} <= known.keys() and {a, b} & values.keys()
    }
    return {**values, **following}
