"""Action spaces in words."""

from __future__ import annotations

from adaptax.types import Box, Candidates, Discrete, MultiDiscrete, Space


def in_words(space: Space) -> str:
    """discrete 5, multi-discrete 3 2, box 2."""
    match space:
        case Candidates(n):
            return f"1 of {n} rows"
        case Discrete(n):
            return f"discrete {n}"
        case MultiDiscrete(choices):
            return f"multi-discrete {' '.join(map(str, choices))}"
        case Box():
            return f"box {space.size}"


def with_bounds(space: Space) -> str:
    """The same; a box with its bounds."""
    if not isinstance(space, Box):
        return in_words(space)
    bounds = zip(space.low, space.high, strict=True)
    return f"{in_words(space)} in {' × '.join(f'[{low:g}, {high:g}]' for low, high in bounds)}"
