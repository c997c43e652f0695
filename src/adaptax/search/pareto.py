"""Two objectives at once: a high score, and a low cost (parameters or seconds)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

Scores: TypeAlias = Sequence[float] | Float[np.ndarray, " n"]


def front(scores: Scores, costs: Scores) -> Bool[np.ndarray, " n"]:
    """Which points no other one dominates: at least as high a score at no more cost, and better in one. NaN is dominated."""
    y, x = np.asarray(scores, float), np.asarray(costs, float)
    no_worse = (y[:, None] >= y) & (x[:, None] <= x)
    better = (y[:, None] > y) | (x[:, None] < x)
    return ~(no_worse & better).any(0) & np.isfinite(y) & np.isfinite(x)


def order(scores: Scores, costs: Scores | None = None) -> Int[np.ndarray, " n"]:
    """Indices from the best to the worst, NaN last; the first of equal ones first.

    With costs, by non-dominated sorting (Goldberg 1989): the front, then the front of the others, and so on; by score within each.
    """
    y = np.where(np.isfinite(np.asarray(scores, float)), scores, -np.inf)
    layer = np.zeros(len(y), int)
    if costs is not None:
        left, x = np.isfinite(y), np.asarray(costs, float)
        layer[~left] = len(y)
        for number in range(len(y)):
            first = np.flatnonzero(left)
            if not first.size:
                break
            chosen = first[front(y[first], x[first])]
            layer[chosen], left[chosen] = number, False
    return np.lexsort((np.arange(len(y)), -y, layer))
