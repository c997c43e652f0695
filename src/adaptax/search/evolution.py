"""Evolution of architectures.

Real, Aggarwal, Huang, Le 2019 (arXiv 1802.01548), Algorithm 1, *regularized* or ageing evolution: the population is the newest P
candidates, however good the older ones were. The best of S drawn from it has a child with one gene changed, which takes the place
of the oldest:

    parent = best of S drawn from the newest P        child = parent with one gene mutated

Ageing forgets candidates that a lucky training put on top. `crossover` gives a child two such parents; without `ageing` the
population is the best P so far: the two together are a genetic algorithm with truncation selection.

Where we depart: no candidate is trained twice as long as there are others; with several processes a child may be born before its
youngest relatives have been scored.

Good at: cheap, robust, any number of genes. Bad at: few trials; the first P are random search.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from adaptax.search.pareto import order
from adaptax.search.record import Proposal, Trial
from adaptax.search.space import Genes
from adaptax.search.strategy import Request, unmet


@dataclasses.dataclass(frozen=True)
class Evolution:
    population: int = 8
    """P, or a third of the trials where that is fewer."""
    tournament: int = 3
    """S"""
    crossover: float = 0.0
    """Probability that a child has two parents."""
    ageing: bool = True
    """The population is the newest P candidates; False: the best."""

    def needs(self, request: Request, workers: int) -> int:
        return 0 if request.number < self.first(request) else max(1, request.number - workers + 1)

    def propose(self, request: Request, rng: np.random.Generator) -> Proposal | None:
        if request.number >= request.trials:
            return None
        if request.number < self.first(request):
            return Proposal(unmet(request, rng, lambda: request.space.sample(rng)), request.updates)
        alive = self.alive(request)
        return Proposal(unmet(request, rng, lambda: self.child(request, alive, rng)), request.updates)

    def first(self, request: Request) -> int:
        """P: so many trials are drawn evenly before the first child."""
        return min(self.population, max(2, request.trials // 3))

    def alive(self, request: Request) -> list[Trial]:
        """The population."""
        history = list(request.history)
        if not self.ageing:
            best = order([trial.score for trial in history], request.costs(history))
            history = [history[i] for i in reversed(best)]
        return history[-self.first(request) :]

    def child(self, request: Request, alive: list[Trial], rng: np.random.Generator) -> Genes:
        """Of one parent or two, with one gene changed."""
        genes = self.parent(request, alive, rng)
        if rng.random() < self.crossover:
            genes = request.space.crossover(rng, genes, self.parent(request, alive, rng))
        return request.space.mutate(rng, genes)

    def parent(self, request: Request, alive: list[Trial], rng: np.random.Generator) -> Genes:
        """The best of a few."""
        drawn = rng.choice(len(alive), min(self.tournament, len(alive)), replace=False)
        few = [alive[i] for i in drawn]
        return few[order([trial.score for trial in few], request.costs(few))[0]].genes
