"""MAML: model-agnostic meta-learning for fast adaptation of deep networks.

Finn, Abbeel, Levine 2017 (arXiv 1703.03400), Algorithms 2 and 3. The learner's initial policy θ is such that one gradient step
on a little data of a new task makes a good policy:

    θ'_i = θ − α ∇_θ L_i(θ; D_i),  D_i ~ π_θ          inner loop, eq. 1
    min_θ  Σ_i L_i(θ'_i; D'_i),    D'_i ~ π_θ'_i      outer loop, eq. 4

Reinforcement learning: the inner L is the low-variance-curvature surrogate of Rothfuss et al. 2019 (eq. 12), whose gradient is
the policy gradient and whose curvature, which the meta-gradient needs, is that of the policy gradient too. The outer step is
PPO's on the post-adaptation episodes, or TRPO's as in the paper. Advantages come from a linear feature baseline fitted to each
round. Supervised tasks: L is the squared error or the cross-entropy, of the support inside and of the query outside.

Presets of this file: `fomaml` leaves the second derivatives out (§5.2), `meta-sgd` learns a step size per parameter (Li et
al. 2017), `anil` adapts the last layer alone (Raghu et al. 2020), `maml-trpo` takes the paper's outer step.

Good at: dense rewards, tasks unlike those trained on (gradient steps go on helping), few assumptions about the learner.
Bad at: sparse rewards (the first episodes explore as a policy for all tasks does), a budget of few episodes.

Where we depart from the paper: the sampling of the first round is held fixed in the meta-gradient, as in all its
implementations (E-MAML adds that term); PPO is the default outer step, being several times cheaper than TRPO here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax

from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.update_rules import SGD, Adam, LearnedRates
from adaptax.algorithms.base import Algorithm
from adaptax.algorithms.few_shot import FewShotAlgorithm
from adaptax.algorithms.meta_gradient import MetaGradient, MetaGradientAlgorithm
from adaptax.chunks import chunk_size
from adaptax.errors import AdaptaxError
from adaptax.outer.trust_region import TrustRegion
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class MAML(MetaGradient):
    """MAML: an initial policy from which a policy-gradient step on a new task goes far."""

    inner_optimizer: Literal["sgd", "adam"] = "sgd"
    """Of the adaptation steps. Adam's moments begin anew in each task; its second derivatives are finite where a gradient is 0."""
    learned_inner_lr: bool = False
    """Learn α, one per parameter (Meta-SGD, Li et al. 2017)."""
    first_order: bool = False
    """Leave the second derivatives out of the meta-gradient (FOMAML)."""
    head_only: bool = False
    """Adapt the last layer alone (ANIL, Raghu et al. 2020)."""
    outer: Literal["ppo", "trpo"] = "ppo"
    """The outer step: clipped surrogate by Adam over several epochs, or one trust-region step, whose width is `max_kl_nats`."""
    cg_iterations: int = 10
    """TRPO: conjugate-gradient steps."""
    cg_damping: float = 1e-5
    """TRPO: multiple of the identity added to the Fisher matrix."""
    line_search_trials: int = 15
    """TRPO: step lengths tried, each half of the one before."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        lr = jnp.array(self.inner_lr)
        if self.learned_inner_lr and self.inner_optimizer != "sgd":
            raise AdaptaxError(
                "Learned step sizes are those of SGD; leave inner_optimizer or learned_inner_lr out."
            )
        adam = Adam(lr, jnp.array(0.9), jnp.array(0.999))
        rule = (
            LearnedRates(lr) if self.learned_inner_lr else adam if self.inner_optimizer == "adam" else SGD(lr)
        )
        learner = self.learner(
            GradientLearner, spec, rule, first_order=self.first_order, head_only=self.head_only,
        )  # fmt: skip
        if spec.supervised:
            if self.outer == "trpo":
                raise AdaptaxError(
                    f"The tasks of '{spec.name}' are labelled examples, on which the outer step is Adam's; leave outer='trpo' out."
                )
            return FewShotAlgorithm(self, spec, learner, self.inner_steps, self.objective, self.cvar_share)
        algorithm = TrustRegionMAML if self.outer == "trpo" else MetaGradientAlgorithm
        return algorithm(self, spec, learner)


class TrustRegionMAML(MetaGradientAlgorithm):
    trust_region: TrustRegion

    def __init__(self, config: MAML, spec: Spec, learner: GradientLearner):
        super().__init__(config, spec, learner)
        self.trust_region = TrustRegion(
            self.max_kl_nats, jnp.array(config.cg_damping), config.cg_iterations, config.line_search_trials
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.identity()

    def outer_step(self, params, frozen, opt_state, aux, data, key):
        chunk = chunk_size(self.tasks, self.floats_per_task)
        params, metrics = self.trust_region.step(self.learner, self.layout, params, frozen, data, chunk)
        return params, opt_state, aux, metrics
