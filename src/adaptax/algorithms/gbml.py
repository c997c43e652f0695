"""GBML: gradient-based meta-learning with a learned update direction.

A meta-learner φ predicts, from the task's data D and the present parameters θ, the direction in which to update them:

    θ' = θ − β · φ(D, θ)                   inner loop
    min_{θ, φ}  Σ_i L_i(θ'_i; D'_i)        outer loop: through the adapted loss, as in MAML

φ sees the data through the gradient ∇L(θ; D), the loss L and the parameters, and takes one of three forms:

    rates       φ = α ⊙ ∇L, a rate for each parameter                 (Meta-SGD, Li et al. 2017, arXiv 1707.09835)
    curvature   φ = M_out ∇L M_in, learned matrices for each layer    (Meta-Curvature, Park & Oliva 2019, arXiv 1902.03356)
    network     a network reads each coordinate's gradient, parameter and place, and the loss
                                                 (after Ravi & Larochelle 2017 and Andrychowicz et al. 2016)

All three begin as a plain gradient step, so that the comparison with MAML at the same inner steps and samples is that of what
φ has learned. The data of a task are read through its gradient alone: how a learned function of the raw data would differ is
what RL² and its kin show.

Good at: what MAML is good at, where directions of the loss differ in scale or noise. Bad at: φ is fitted to the training tasks'
gradients, and may mislead far from them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp

from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.update_rules import GradientNetwork, LearnedRates, MetaCurvature
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.few_shot import FewShotAlgorithm
from adaptax.algorithms.meta_gradient import MetaGradient, MetaGradientAlgorithm
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class GBML(MetaGradient):
    """GBML: a learned update direction, and an initial policy that it suits."""

    direction: Literal["rates", "curvature", "network"] = "network"
    """The form of φ: a rate per parameter, matrices per layer, or a network over coordinates."""
    direction_hidden: tuple[int, ...] = (8,)
    """Units of the hidden layers of the network over coordinates."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        β = jnp.array(self.inner_lr)
        rules = {
            "rates": LearnedRates(β),
            "curvature": MetaCurvature(β),
            "network": GradientNetwork(β, self.direction_hidden),
        }
        learner = self.learner(GradientLearner, spec, rules[self.direction])
        if spec.supervised:
            return FewShotAlgorithm(self, spec, learner, self.inner_steps, self.objective, self.cvar_share)
        return MetaGradientAlgorithm(self, spec, learner)
