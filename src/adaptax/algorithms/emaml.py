"""E-MAML: MAML that is credited for what its first rounds find out.

Stadie, Yang, Houthooft, Chen, Duan, Wu, Abbeel, Sutskever 2018 (arXiv 1803.01118). The initial policy θ decides twice what
becomes of a task: it is where adaptation starts, and it collects the data D_1 … D_{K−1} that adaptation learns from. MAML's
meta-gradient knows the first alone. The whole gradient of the return after adaptation has a second term:

    ∇ E[R(D_K)] = E[∇ log π_θ'(D_K) R(D_K)]  +  E[Σ_{k<K} ∇ log π_θ_k(D_k) · (R(D_K) − b)]

R is the mean return of the last round, b a baseline. It stays unbiased, as it never sees the stream that it judges: it is a
regression, fitted to the *other* tasks of the batch, of R on the return of a round's *other* streams.

The first term differentiates through adaptation, θ' = U(θ, D). With the plain surrogate −log π A inside, U has the curvature of
the data that it was given, and `credit=1` is exactly ∇ E[R(D_K)]. DiCE (Foerster et al. 2018) has the curvature of the
*expected* return, which is another objective's (Rothfuss et al. 2019, §4: θ' = U(θ), adaptation to infinitely much data): how
θ changes what is sampled then counts inside U, and once more in the credit. Loaded DiCE (Farquhar et al. 2019) trades the
variance of that curvature for bias by λ; λ = 0 is LVC's, as in MAML here.

Good at: first rounds that must explore; where any first episodes tell the task, as in 2D navigation, credit buys nothing. Bad
at: variance. The second term gives each of the N·T earlier rows of a task the weight N (R − b)/σ, where a row of the last
round has A/σ: one number for all of them, N times as large. `credit` weighs it; 1 is the gradient above; the default, less,
leaves most of a noisy term out and is biased towards MAML's.

Where we depart from the paper: the baseline; PPO's clip on the rows of both terms, which changes nothing in the first epoch;
standardised advantages, so that the first term is in units of T·σ (T rows, σ the advantages' standard deviation), and the
second is divided by the other tasks' mean of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax import trees
from adaptax.adaptation.gradient import GradientLearner
from adaptax.adaptation.update_rules import SGD
from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.algorithms.meta_gradient import MetaGradient, MetaGradientAlgorithm
from adaptax.collection.replay import replay
from adaptax.estimators.returns import standard_deviation
from adaptax.estimators.surrogates import loaded_dice, ppo_clip
from adaptax.outer.post_adaptation import clipped_loss, log_probs, mean_kl
from adaptax.types import Lifetime, Metrics, Spec, Step


@dataclasses.dataclass(frozen=True)
class EMAML(MetaGradient):
    """E-MAML: MAML with credit for exploration in the rounds before adaptation."""

    credit: float = 0.05
    """Weight of the credit for earlier rounds: 1 is the stated gradient, 0 is MAML. Less than 1 is biased and has less
    variance: the term's noise grows with the number of streams."""
    estimator: Literal["plain", "dice", "loaded-dice"] = "loaded-dice"
    """Inner surrogate: "plain" is −log π A, with which credit 1 is exact; "dice" has the curvature of all pairs of rows of an
    episode, "loaded-dice" less of the distant ones."""
    dice_lambda: float = 0.5
    """λ of loaded DiCE: 0 is LVC's curvature (biased), 1 that of DiCE (unbiased)."""

    def build(self, spec: Spec) -> Algorithm:
        """The algorithm for a family's spec."""
        require_environments(spec, "E-MAML")
        λ = jnp.array(1.0 if self.estimator == "dice" else self.dice_lambda)
        plain = self.estimator == "plain"
        learner = self.learner(EMAMLLearner, spec, SGD(jnp.array(self.inner_lr)), plain=plain, dice_λ=λ)
        return EMAMLAlgorithm(self, spec, learner)


class EMAMLLearner(GradientLearner):
    plain: bool = eqx.field(static=True)
    dice_λ: Array

    def surrogate(self, logp, advantage, batch):
        if self.plain:
            return -logp * advantage
        # The products of rows run within an episode, and over rows that were there.
        λ = jnp.where(batch.first, 0.0, self.dice_λ)
        return jax.vmap(loaded_dice)(jnp.where(batch.valid, logp, 0.0), advantage, λ)


class EMAMLAlgorithm(MetaGradientAlgorithm):
    credit: Array

    def __init__(self, config: EMAML, spec: Spec, learner: EMAMLLearner):
        super().__init__(config, spec, learner)
        self.credit = jnp.array(config.credit)

    def data(self, lifetime: Lifetime) -> Any:
        """As MAML's, and the credit [B, K−1, N] of each stream of the earlier rounds."""
        last = trees.index(lifetime.rounds, (slice(None), -1)).for_outer_loop()
        σ = jax.vmap(lambda rows: standard_deviation(self.learner.raw_advantages(rows), rows.valid))(last)
        unit = σ * last.valid.sum((1, 2)) / self.layout.streams
        unit = jnp.where(_of_others(unit) > 0, _of_others(unit), unit)  # the others may have seen no reward
        credit = credits(lifetime.rounds) / (unit[:, None, None] + 1e-8)
        return (*super().data(lifetime), credit)

    def outer_step(self, params, frozen, opt_state, aux, data: Any, key):
        def loss(params: Any, one_task: tuple[Lifetime, Array, Array, Array]) -> tuple[Array, Metrics]:
            lifetime, advantage, weight, credit = one_task
            out = replay(self.learner, eqx.combine(params, frozen), lifetime, self.layout)
            adapted, last = trees.index((out, lifetime.rounds), -1)
            earlier_out, earlier = trees.index((out, lifetime.rounds), slice(None, -1))
            logp = jax.vmap(log_probs)(earlier_out, earlier)
            credited = ppo_clip(logp, earlier.logp, credit[..., None], self.clip)
            explored = jnp.where(earlier.valid, credited, 0.0).sum()
            total = clipped_loss(adapted, last, advantage, self.clip) + self.credit * explored
            return weight * total, {"kl_nats": mean_kl(last, adapted)}

        params, opt_state, metrics = self.descend(loss, params, opt_state, data, key)
        size = jnp.sqrt((data[3] ** 2).mean())
        return params, opt_state, aux, metrics | {"credit": size}


def credits(rounds: Step) -> Float[Array, "B before N"]:
    """R_i − b_ikn for each stream n of each round k before the last of the tasks i; rows [B, K, N, T].

    b_ikn = a + c·(mean return of the other streams of round k of task i); a and c are fitted by least squares to the pairs
    (mean return of round k, mean return of the last round) of the other tasks. With two tasks c is 0, with one b is.
    """
    returns = jnp.where(rounds.valid, rounds.training_reward, 0.0).sum(-1)
    before, last = returns[:, :-1], returns[:, -1].mean(-1)[:, None]
    n = returns.shape[-1]
    x, y = before.mean(-1), jnp.broadcast_to(last, before.shape[:2])
    # Sums about the mean of all tasks: a shift that a regression does not see, kept small for float32.
    x0, y0 = x.mean(0), y.mean(0)
    of_others = [_of_others(z) for z in (x - x0, y - y0, (x - x0) ** 2, (x - x0) * (y - y0))]
    mx, my, mxx, mxy = of_others
    variance = mxx - mx**2
    slope = jnp.where(variance > 1e-6 * mxx, (mxy - mx * my) / jnp.maximum(variance, 1e-12), 0.0)
    if before.shape[0] == 1:
        return jnp.broadcast_to(last[..., None], before.shape)
    other_streams = (before.sum(-1, keepdims=True) - before) / max(1, n - 1)
    slope = slope if n > 1 else jnp.zeros_like(slope)
    predicted = (my + y0)[..., None] + slope[..., None] * (other_streams - (mx + x0)[..., None])
    return last[..., None] - predicted


def _of_others(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """For each task, the mean over the other tasks; its own where there is no other."""
    n = x.shape[0]
    return x if n == 1 else (x.sum(0) - x) / (n - 1)
