"""Random search: what the other strategies are measured against (Bergstra & Bengio 2012; Li & Talwalkar 2019)."""

from __future__ import annotations

import dataclasses

import numpy as np

from adaptax.search.record import Proposal
from adaptax.search.strategy import Request, unmet


@dataclasses.dataclass(frozen=True)
class RandomSearch:
    """Candidates drawn evenly, each once."""

    def needs(self, request: Request, workers: int) -> int:
        return 0

    def propose(self, request: Request, rng: np.random.Generator) -> Proposal | None:
        if request.number >= request.trials:
            return None
        return Proposal(unmet(request, rng, lambda: request.space.sample(rng)), request.updates)
