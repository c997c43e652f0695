"""The strategies by their names on the command line."""

from __future__ import annotations

from adaptax.errors import AdaptaxError, near
from adaptax.search.bayes import Bayes
from adaptax.search.evolution import Evolution
from adaptax.search.halving import Halving
from adaptax.search.random_search import RandomSearch
from adaptax.search.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    "evolution": Evolution(), "genetic": Evolution(crossover=0.5, ageing=False), "bayes": Bayes(), "halving": Halving(),
    "random": RandomSearch(),
}  # fmt: skip


def strategy(name: str) -> Strategy:
    """The strategy of a name; AdaptaxError with the nearest names where there is none."""
    if name not in STRATEGIES:
        raise AdaptaxError(
            f"There is no strategy '{name}'; {near(name, STRATEGIES)}there are: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]
