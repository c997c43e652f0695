"""Learners that read a round by the policy gradient of its rows: what those that step along it and those that feed it to a network
share."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from adaptax.estimators.baseline import linear_advantages
from adaptax.estimators.returns import standardise
from adaptax.learner import Learner
from adaptax.types import Spec, Step


class PolicyGradientLearner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    """Units of the policy's hidden layers."""
    γ: Array
    λ: Array

    @property
    def floats_of_a_step(self) -> int:
        """What an adaptation computes for one task beside the activations of its rows, in floats."""
        raise NotImplementedError

    def advantages(self, batch: Step) -> Float[Array, "N T"]:
        """Of one round: generalised advantages over a linear baseline, standardised."""
        return standardise(self.raw_advantages(batch), batch.valid)

    def raw_advantages(self, batch: Step) -> Float[Array, "N T"]:
        """In the reward's units."""
        return linear_advantages(batch, self.γ, self.λ)
