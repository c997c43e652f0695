"""Successive halving: many candidates are trained a little, the best of them longer, and the best of these fully.

Karnin, Koren, Somekh 2013; Jamieson & Talwalkar 2016 (arXiv 1502.07943). Rung i trains n_i candidates for r_i meta-updates in all,
on from their checkpoints:

    r_i = R η^(i − k + 1)      n_i = ⌊n₀ η^(−i)⌋      i = 0 … k − 1

R is a full training, and n₀ the most candidates that cost no more than the search's budget, Σ_i n_i (r_i − r_{i−1}) ≤ trials × R.
Where the space holds fewer, all of it is on the first rungs, and what is left of the budget keeps more on the later ones.

Good at: many candidates for the price of few. Bad at: architectures that begin slowly and end well: a score after little training
must tell something of the score in the end.
"""

from __future__ import annotations

import bisect
import dataclasses
from typing import NamedTuple

import numpy as np

from adaptax.search.pareto import order
from adaptax.search.record import Proposal
from adaptax.search.strategy import Request, unmet


class Rung(NamedTuple):
    candidates: int
    updates: int
    """Meta-updates of each in all."""


@dataclasses.dataclass(frozen=True)
class Halving:
    factor: int = 3
    """η"""
    rungs: int = 3
    """k"""

    def needs(self, request: Request, workers: int) -> int:
        """A rung begins when the one before has ended."""
        place = self.place(request)
        return 0 if place is None else place[1]

    def propose(self, request: Request, rng: np.random.Generator) -> Proposal | None:
        place = self.place(request)
        if place is None:
            return None
        i, first = place
        rungs = self.schedule(request.trials, request.updates, request.space.size)
        if i == 0:
            return Proposal(unmet(request, rng, lambda: request.space.sample(rng)), rungs[0].updates)
        below = list(request.history[first - rungs[i - 1].candidates : first])
        best = order([trial.score for trial in below], request.costs(below))
        return Proposal(below[best[request.number - first]].genes, rungs[i].updates)

    def place(self, request: Request) -> tuple[int, int] | None:
        """The rung that a trial is on, and the number of the first trial there; None: there is none any more."""
        first = 0
        for i, rung in enumerate(self.schedule(request.trials, request.updates, request.space.size)):
            if request.number < first + rung.candidates:
                return i, first
            first += rung.candidates
        return None

    def schedule(self, trials: int, updates: int, most: int) -> list[Rung]:
        """The rungs that a budget of `trials` full trainings pays for, with at most `most` candidates."""
        lengths = [max(1, round(updates / self.factor ** (self.rungs - 1 - i))) for i in range(self.rungs)]
        steps = np.diff([0, *lengths])

        def numbers(n: int) -> list[int]:
            return [min(most, max(1, n // self.factor**i)) for i in range(self.rungs)]

        def cost(n: int) -> int:
            return int(np.dot(numbers(n), steps))

        # It grows with n: the last that does not cost more than there is.
        n = max(1, bisect.bisect_right(range(1, most * self.factor**self.rungs), trials * updates, key=cost))
        return [Rung(n, r) for n, r in zip(numbers(n), lengths, strict=True)]
