"""What a strategy is: a function of what was tried before.

A strategy keeps nothing between two proposals. It is given the trials so far, in the order of their numbers, and dice that are of
the proposal's number alone: a search that is interrupted and goes on makes the same proposals as one that was not, with as many
processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from typing import Protocol, runtime_checkable

import numpy as np

from adaptax.search.record import Proposal, Trial
from adaptax.search.space import Genes, Space, identity

MOST_DRAWS = 200
"""Draws after which a candidate that was met before is taken all the same: the space may be exhausted."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What a proposal is made from."""

    space: Space
    trials: int
    """Budget: so many candidates could be trained fully."""
    updates: int
    """Meta-updates of a full training."""
    number: int
    """Of the trial that is to be proposed, from 0."""
    history: Sequence[Trial]
    """The first trials, as many as `Strategy.needs` asks for, or more."""
    met: Set[str]
    """Identities of all candidates proposed before this one, finished or not."""
    cost: str | None
    """The second objective, one of `record.COSTS`; None: the score alone counts."""

    def costs(self, trials: Sequence[Trial]) -> list[float] | None:
        return None if self.cost is None else [trial.cost(self.cost) for trial in trials]


@runtime_checkable
class Strategy(Protocol):
    def needs(self, request: Request, workers: int) -> int:
        """How many of the first trials must have ended before this one can be proposed."""
        ...

    def propose(self, request: Request, rng: np.random.Generator) -> Proposal | None:
        """What to try next; None: the budget is spent."""
        ...


def unmet(request: Request, rng: np.random.Generator, draw: Callable[[], Genes]) -> Genes:
    """The first of the candidates drawn that was not met before; failing that one drawn evenly, likewise."""
    for source in (draw, lambda: request.space.sample(rng)):
        for _ in range(MOST_DRAWS):
            genes = source()
            if identity(genes) not in request.met:
                return genes
    return genes
