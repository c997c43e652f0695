"""The in-context Transformer: RL² with a causal Transformer for its memory.

Duan et al. 2016 (arXiv 1611.02779) for the learning problem; Melo 2022 (arXiv 2206.06614) and Grigsby et al. 2024 (AMAGO, arXiv
2310.09971) for Transformers in it. The policy reads every row of the lifetime, φ(o_t, a_{t−1}, r_{t−1}, d_{t−1}), and attends to
all before it; adaptation is what attention finds there:

    max_θ  E_task E_π  Σ_t γᵗ r_t ,     π(a_t | rows 0 … t),  t running over all E episodes of the lifetime.

Good at: credit and recall over long lifetimes, where a recurrent state of fixed size forgets. Bad at: the cost of a step, which
grows with the `context`; small data, for it has no bias towards recent rows.

Departures from Melo 2022: PPO as for RL²; pre-norm, rotary positions, SwiGLU and RMSNorm in place of sinusoidal positions and a
special initialisation.
"""

from __future__ import annotations

import dataclasses

from adaptax.adaptation.in_context import InContextLearner
from adaptax.algorithms.base import require_environments
from adaptax.algorithms.memory_ppo import MemoryPPO, MemoryPPOAlgorithm
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class Transformer(MemoryPPO):
    """A causal Transformer that reads the whole lifetime, trained by PPO on its return."""

    lr: float = 1e-3
    """Adam's step size."""
    width: int = 64
    """Numbers in a row between the layers."""
    layers: int = 2
    """Blocks of attention and multilayer perceptron."""
    heads: int = 4
    """Heads of attention; the width must be a multiple of twice as many."""
    context: int = 0
    """Rows that a row can look back on, itself included; 0: the whole lifetime."""

    def build(self, spec: Spec) -> MemoryPPOAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where its tasks are labelled examples, or `width` does not divide."""
        require_environments(spec, "The in-context Transformer")
        rows = self.steps(spec)
        learner = InContextLearner(
            spec=spec, width=self.width, layers=self.layers, heads=self.heads, context=self.context or rows
        )
        # The largest array of a row: the inner layer of the perceptron, or the scores of all heads.
        return MemoryPPOAlgorithm(self, spec, learner, max(4 * self.width, self.heads * rows))
