"""Surrogates: their values and gradients by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptax.estimators.ppo import PPOCoefficients, ppo_loss
from adaptax.estimators.surrogates import dice, likelihood_ratio, loaded_dice, lvc, ppo_clip
from adaptax.networks.distributions import Categorical
from adaptax.types import Out, Step


def test_lvc_has_the_value_and_gradient_of_the_policy_gradient_and_the_curvature_of_the_ratio():
    """log π = −x² at x = 3, A = 2: value −2; gradient −A·(−2x) = 12; curvature −A·((−2x)² − 2) = −68."""
    f = lambda x: lvc(-(x**2), jnp.array(2.0))  # noqa: E731
    assert float(f(jnp.array(3.0))) == -2.0
    assert math.isclose(jax.grad(f)(3.0), 12.0, rel_tol=1e-6)
    assert math.isclose(jax.grad(jax.grad(f))(3.0), -68.0, rel_tol=1e-6)


def test_dice_credits_what_came_before():
    """Rewards 1, 0, 5 and ∇log π = (1, 10, 100) x: value −6, gradient −(1·1 + 5·111) at x = 0."""
    f = lambda x: dice(x * jnp.array([1.0, 10.0, 100.0]), jnp.array([1.0, 0.0, 5.0]))  # noqa: E731
    assert float(f(jnp.array(0.0))) == -6.0
    assert math.isclose(jax.grad(f)(0.0), -556.0, rel_tol=1e-6)
    # Second derivative of e^{sx} is s².
    assert math.isclose(jax.grad(jax.grad(f))(0.0), -(1.0 + 5 * 111.0**2), rel_tol=1e-6)


@pytest.mark.parametrize(
    "λ, curvature", [(0.0, -(2 + 300 + 50000)), (0.5, -(2 + 330 + 55250)), (1.0, -(2 + 360 + 61000))]
)
def test_loaded_dice_by_hand(λ, curvature):
    """∇log π = s = (1, 10, 100), A = (2, 3, 5): gradient −Σ s A; curvature −Σ A (s² + 2 s v), v_t = λ (s_{t−1} + v_{t−1}).

    λ = ½: v = (0, ½, 5¼), so −(2·1 + 3·(100 + 10) + 5·(10000 + 1050)) = −(2 + 330 + 55250); λ = 1: v = (0, 1, 11).
    """
    f = lambda x: loaded_dice(x * jnp.array([1.0, 10.0, 100.0]), jnp.array([2.0, 3.0, 5.0]), λ).sum()  # noqa: E731
    assert float(f(0.3)) == 0.0
    assert math.isclose(jax.grad(f)(0.0), -(2 + 30 + 500), rel_tol=1e-6)
    assert math.isclose(jax.grad(jax.grad(f))(0.0), curvature, rel_tol=1e-6)


def test_loaded_dice_forgets_where_a_row_says_so():
    """λ = (0, 1, 0): the last row stands alone, as an episode's first does."""
    f = lambda x: loaded_dice(  # noqa: E731
        x * jnp.array([1.0, 10.0, 100.0]), jnp.array([2.0, 3.0, 5.0]), jnp.array([0.0, 1.0, 0.0])
    ).sum()
    assert math.isclose(jax.grad(jax.grad(f))(0.0), -(2 + 360 + 50000), rel_tol=1e-6)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_loaded_dice_without_loss_of_memory_is_dice_of_each_sequence(seed, t):
    """Where advantages are returns to go: first and second derivatives alike."""
    k_slope, k_reward = jax.random.split(jax.random.key(seed))
    slope, reward = jax.random.normal(k_slope, (t, 2)), jax.random.normal(k_reward, (t,))
    logp = lambda x: jnp.sin(slope @ x)  # noqa: E731
    to_go = jnp.cumsum(reward[::-1])[::-1]
    x = jnp.array([0.4, -0.2])
    for d in (jax.grad, jax.hessian):
        ours = d(lambda x: loaded_dice(logp(x), to_go, 1.0).sum())(x)
        np.testing.assert_allclose(ours, d(lambda x: dice(logp(x), reward))(x), rtol=1e-3, atol=1e-3)


def test_a_likelihood_ratio_weighs_what_another_policy_collected():
    """π = 3 π_old, A = 2: value −6; gradient −6 ∇log π."""
    f = lambda logp: likelihood_ratio(logp, jnp.array(-2.0), jnp.array(2.0))  # noqa: E731
    value, slope = jax.value_and_grad(f)(-2.0 + math.log(3.0))
    assert math.isclose(value, -6.0, rel_tol=1e-6) and math.isclose(slope, -6.0, rel_tol=1e-6)


@pytest.mark.parametrize(
    "ratio, advantage, value, slope",
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # clipped at 1.2: no more is to be won
        (0.5, 2.0, -1.0, -2.0),  # got worse: not clipped
        (0.5, -2.0, 1.6, 0.0),  # clipped at 0.8
        (1.5, -2.0, 3.0, 2.0),
    ],
)
def test_ppo_clips_what_would_be_won_beyond_the_bound(ratio, advantage, value, slope):
    f = lambda r: ppo_clip(jnp.log(r), jnp.zeros(()), jnp.array(advantage), 0.2)  # noqa: E731
    assert math.isclose(f(ratio), value, rel_tol=1e-5)
    assert math.isclose(jax.grad(f)(ratio), slope, rel_tol=1e-5, abs_tol=1e-6)


def test_ppo_loss_by_hand():
    """Two choices, p = (¾, ¼), collected at ½ each; the third row is not valid.

    Row 0 took 0, A = 1: ρ = 3/2, clipped to 1.2: −1.2. Row 1 took 1, A = 1: ρ = ½: −½. Mean −0.85.
    Value: ½·mean(1, 9) = 2.5. Entropy: H(¾, ¼). KL (k3): mean(½ − ln 3/2, −½ + ln 2).
    """
    logits = jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25], [0.9, 0.1]]))
    zero = jnp.zeros(3)
    rows = Step(
        zero, zero, zero, zero, zero, action=jnp.array([0, 1, 0]), logp=jnp.full(3, -math.log(2.0)),
        valid=jnp.array([True, True, False]),
    )  # fmt: skip
    coefficients = PPOCoefficients(clip=jnp.array(0.2), value=jnp.array(0.5), entropy=jnp.array(0.1))
    loss, metrics = jax.jit(ppo_loss)(
        Out(jax.vmap(Categorical)(logits), zero),
        rows,
        jnp.array([1.0, 1.0, 50.0]),
        jnp.array([1.0, 3.0, 50.0]),
        coefficients,
    )
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert math.isclose(metrics["policy_loss"], -0.85, rel_tol=1e-5)
    assert math.isclose(metrics["value_loss"], 2.5, rel_tol=1e-5)
    assert math.isclose(metrics["entropy_nats"], entropy, rel_tol=1e-5)
    assert math.isclose(metrics["kl_nats"], (math.log(2.0) - math.log(1.5)) / 2, rel_tol=1e-4)
    assert float(metrics["clipped"]) == 1.0
    assert math.isclose(loss, -0.85 + 0.5 * 2.5 - 0.1 * entropy, rel_tol=1e-5)
    assert np.isfinite(loss)
