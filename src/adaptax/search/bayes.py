"""Bayesian optimisation by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Akiba et al. 2019).

Two densities over the genes are fitted to the trials so far, ℓ to the best of them and g to the others; of many candidates drawn
from ℓ the one with the highest ℓ/g is tried next, which maximises the expected improvement. With a second objective the best are
those of the first fronts (Ozaki et al. 2020).

Optuna is asked and told anew for every proposal, from the trials alone.

Good at: few trials of costly trainings. Bad at: being the first to find anything: before `startup` trials it is random search.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np

from adaptax.errors import AdaptaxError
from adaptax.search.record import Proposal
from adaptax.search.space import Genes
from adaptax.search.strategy import Request, unmet


@dataclasses.dataclass(frozen=True)
class Bayes:
    startup: int = 8
    """Trials drawn evenly before the first that is not, or a third of all where that is fewer."""
    candidates: int = 24
    """Drawn from ℓ for a proposal."""

    def needs(self, request: Request, workers: int) -> int:
        return 0 if request.number < self.first(request) else max(1, request.number - workers + 1)

    def propose(self, request: Request, rng: np.random.Generator) -> Proposal | None:
        if request.number >= request.trials:
            return None
        optuna = imported()
        if request.number < self.first(request):
            return Proposal(unmet(request, rng, lambda: request.space.sample(rng)), request.updates)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `multivariate`
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=1,
                n_ei_candidates=self.candidates,
                multivariate=True,
                seed=int(rng.integers(2**31)),
            )
        study = optuna.create_study(
            directions=["maximize"] if request.cost is None else ["maximize", "minimize"], sampler=sampler
        )
        choices = request.space.choices
        spread = {
            name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()
        }
        for trial in request.history:
            values = [trial.score] if request.cost is None else [trial.score, trial.cost(request.cost)]
            told = all(map(math.isfinite, values))
            state = optuna.trial.TrialState.COMPLETE if told else optuna.trial.TrialState.FAIL
            study.add_trial(
                optuna.trial.create_trial(
                    state=state, params=trial.genes, distributions=spread, values=values if told else None
                )
            )

        def ask() -> Genes:
            params = study.ask(spread).params
            return {name: params[name] for name in choices}

        return Proposal(unmet(request, rng, ask), request.updates)

    def first(self, request: Request) -> int:
        """So many trials are drawn evenly."""
        return min(self.startup, max(2, request.trials // 3))


def imported() -> Any:
    """Optuna; AdaptaxError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise AdaptaxError(
            "The strategy 'bayes' needs Optuna, which is not installed: pip install 'adaptax[search]'; or choose "
            "--strategy evolution."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
