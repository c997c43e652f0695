"""ProMP: the ratio of the inner step, the penalty before adaptation, and its weight."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from laws.experience import collected, mapped
from laws.learners import ALGORITHMS

from adaptax import trees
from adaptax.algorithms.promp import ProMP, ProMPAlgorithm, inner_kl, next_penalty
from adaptax.networks.distributions import Gaussian
from adaptax.types import Out, Step

CASE = ALGORITHMS["promp"]


def check_ratio() -> None:
    """π = 2 π_old in one row, ½ π_old in another, A = 3: −6 and −1½; a row that is not valid weighs as if it were its own."""
    logp = jnp.log(jnp.array([[0.5, 0.25, 0.1]]))
    valid = jnp.array([[True, True, False]])
    zero = jnp.zeros((1, 3))
    batch = Step(zero, zero, zero, zero, zero, valid=valid, logp=jnp.log(jnp.array([[0.25, 0.5, 0.0]])))
    found = CASE.learner.surrogate(logp, jnp.full((1, 3), 3.0), batch)
    np.testing.assert_allclose(found, [[-6.0, -1.5, -3.0]], rtol=1e-5)


def test_the_inner_step_is_corrected_for_what_collected():
    check_ratio()


def check_inner_kl() -> None:
    """Unit Gaussians whose means moved by δ: ½δ² a row. Rounds: mean(½, 2) (a third row is not valid), then ½·3²; the last
    round is adapted, and counts for nothing."""
    moved = jnp.array([[[1.0, 2.0, 50.0]], [[3.0, 3.0, 3.0]], [[7.0, 7.0, 7.0]]])[..., None]  # [K, N, T, 1]
    gaussian = mapped(lambda mean: Gaussian(mean, jnp.zeros(1)), 3)
    zero = jnp.zeros((3, 1, 3))
    valid = jnp.ones((3, 1, 3), bool).at[0, 0, 2].set(False)
    rounds = Step(zero, zero, zero, zero, zero, valid=valid, dist=gaussian(jnp.zeros_like(moved)))
    kl = inner_kl(rounds, Out(gaussian(moved), zero))
    assert math.isclose(kl, 1.25 + 4.5, rel_tol=1e-6)


def test_the_inner_kl_divergence_by_hand():
    check_inner_kl()


def check_adaptive() -> None:
    """Target 0.01: twice η above 0.015, half of it below 0.00667; as it is between them."""
    for kl, factor in [
        (0.1, 2.0),
        (0.016, 2.0),
        (0.014, 1.0),
        (0.01, 1.0),
        (0.007, 1.0),
        (0.006, 0.5),
        (0.0, 0.5),
    ]:
        assert float(next_penalty(jnp.array(0.3), jnp.array(kl), jnp.array(0.01))) == np.float32(
            0.3 * factor
        ), kl


def test_an_adaptive_penalty_follows_the_distance():
    check_adaptive()


def learned(config: ProMP, updates: int = 1):
    """State and metrics after some meta-updates on the same lifetimes."""
    algorithm = config.build(CASE.family.spec)
    assert isinstance(algorithm, ProMPAlgorithm)
    case = dataclasses.replace(CASE, learner=algorithm.learner, algorithm=algorithm)
    lifetime = collected(case, algorithm.layout)
    lifetime = trees.index(lifetime, jnp.arange(config.tasks) % lifetime.keys.shape[0])
    state = eqx.tree_at(lambda s: s.theta, algorithm.init(jax.random.key(0)), case.theta)
    learn = eqx.filter_jit(lambda a, state, life: a.learn(state, life, jax.random.key(1)))
    metrics = {}
    for _ in range(updates):
        state, metrics = learn(algorithm, state, lifetime)
    return state, metrics


SMALL = ProMP(tasks=4, streams=2, hidden=(8, 8), epochs=4, lr=0.02, max_kl_nats=1e6)


def test_the_penalty_keeps_the_policy_before_adaptation_near_what_collected():
    # Adaptive, so that the metric is of after the last step. A penalty has no slope before the first.
    small = dataclasses.replace(SMALL, adaptive=True, epochs=40, lr=0.003)
    free, held = (learned(dataclasses.replace(small, kl_penalty=η))[1]["inner_kl_nats"] for η in (0.0, 100.0))
    assert 0.0 < float(held) < 0.5 * float(free)


def test_the_state_keeps_an_adaptive_penalty():
    for target, factor in ((1e-9, 4.0), (1e9, 0.25)):
        state, metrics = learned(dataclasses.replace(SMALL, adaptive=True, kl_target_nats=target), updates=2)
        assert float(state.aux) == float(metrics["kl_penalty"]) == np.float32(5e-4 * factor)
    assert float(learned(SMALL, updates=2)[0].aux) == np.float32(5e-4)
