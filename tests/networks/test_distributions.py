"""Distributions against scipy's, closed forms and samples."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adaptax.networks.distributions import (
    MASKED_LOGIT,
    Categorical,
    Gaussian,
    MultiCategorical,
    TanhGaussian,
    from_outputs,
    uniform,
)
from adaptax.types import Box, Discrete, MultiDiscrete

SAMPLES = 20_000
logits = st.lists(st.floats(-4, 4, width=32), min_size=3, max_size=3).map(lambda x: jnp.array(x, jnp.float32))
reals = st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2).map(lambda x: jnp.array(x, jnp.float32))


@jax.jit
def said(p, q, action):
    return p.log_prob(action), p.entropy(), p.kl(q), p.mode()


@given(logits, logits, st.integers(0, 2))
def test_categorical_is_scipys(a, b, action):
    logp, entropy, kl, mode = said(Categorical(a), Categorical(b), jnp.array(action))
    p, q = (
        np.exp(x - np.logaddexp.reduce(x)) for x in (np.asarray(a, np.float64), np.asarray(b, np.float64))
    )
    np.testing.assert_allclose(logp, np.log(p[action]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(entropy, stats.entropy(p), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(kl, stats.entropy(p, q), rtol=1e-3, atol=1e-5)
    assert p[mode] == p.max()


@given(reals, reals, reals, reals, reals)
def test_gaussian_is_scipys(mean, log_std, other_mean, other_log_std, action):
    p, q = Gaussian(mean, log_std), Gaussian(other_mean, other_log_std)
    logp, entropy, kl, mode = said(p, q, action)
    μ, log_σ, μ2, log_σ2, a = (
        np.asarray(x, np.float64) for x in (mean, log_std, other_mean, other_log_std, action)
    )
    scipys = stats.multivariate_normal(μ, np.diag(np.exp(2 * log_σ)))
    np.testing.assert_allclose(logp, scipys.logpdf(a), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(entropy, scipys.entropy(), rtol=1e-4, atol=1e-4)
    # KL of normals by matrices: ½ [tr(Σ₂⁻¹Σ₁) + δᵀΣ₂⁻¹δ − d + ln |Σ₂|/|Σ₁|]
    precision = np.diag(np.exp(-2 * log_σ2))
    δ = μ2 - μ
    trace = np.trace(precision @ np.diag(np.exp(2 * log_σ)))
    expected = 0.5 * (trace + δ @ precision @ δ - 2 + 2 * (log_σ2 - log_σ).sum())
    np.testing.assert_allclose(kl, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(mode, mean)


@given(st.lists(st.floats(-3, 3, width=32), min_size=10, max_size=10), st.integers(0, 1), st.integers(0, 2))
def test_independent_choices_add_up(numbers, first, second):
    a, b = jnp.array(numbers[:5], jnp.float32), jnp.array(numbers[5:], jnp.float32)
    both = said(MultiCategorical(a, (2, 3)), MultiCategorical(b, (2, 3)), jnp.array([first, second]))
    one = said(Categorical(a[:2]), Categorical(b[:2]), jnp.array(first))
    two = said(Categorical(a[2:]), Categorical(b[2:]), jnp.array(second))
    for i in range(3):
        np.testing.assert_allclose(both[i], one[i] + two[i], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(both[3], [one[3], two[3]])


@pytest.mark.parametrize(
    "p, q",
    [
        (Categorical(jnp.array([0.5, -1.0, 2.0])), Categorical(jnp.array([0.0, 1.0, 0.5]))),
        (
            MultiCategorical(jnp.array([0.5, -1.0, 2.0, 0.0, 1.0]), (2, 3)),
            MultiCategorical(jnp.zeros(5), (2, 3)),
        ),
        (Gaussian(jnp.array([1.0, -2.0]), jnp.array([0.3, -1.0])), Gaussian(jnp.zeros(2), jnp.zeros(2))),
    ],
    ids=["categorical", "multi", "gaussian"],
)
def test_samples_have_the_distribution_that_is_said(p, q):
    """Entropy and divergence are the means over samples of −log p and log p/q."""

    @jax.jit
    def monte_carlo(p, q, key):
        actions = jax.vmap(p.sample)(jax.random.split(key, SAMPLES))
        logp, logq = (jax.vmap(d.log_prob)(actions) for d in (p, q))
        return actions, -logp, logp - logq

    actions, surprise, difference = (np.asarray(x, np.float64) for x in monte_carlo(p, q, jax.random.key(0)))
    for samples, value in ((surprise, p.entropy()), (difference, p.kl(q))):
        assert abs(samples.mean() - float(value)) < 5 * samples.std() / math.sqrt(SAMPLES)
    if isinstance(p, Gaussian):
        for i in range(2):
            assert stats.kstest((actions[:, i] - p.mean[i]) / np.exp(p.log_std[i]), "norm").pvalue > 1e-3
    if isinstance(p, Categorical):
        counts = np.bincount(actions.astype(int), minlength=3)
        assert (
            stats.chisquare(counts, SAMPLES * np.asarray(jax.nn.softmax(p.logits), np.float64)).pvalue > 1e-3
        )


def test_a_distribution_has_no_divergence_from_itself_and_no_slope_there():
    p = Gaussian(jnp.array([1.0, -2.0]), jnp.array([0.3, -1.0]))
    value, slope = jax.value_and_grad(lambda q: p.kl(q))(p)
    assert abs(value) < 1e-6 and max(float(jnp.abs(g).max()) for g in jax.tree.leaves(slope)) < 1e-6


# --- squashed normals ------------------------------------------------------------------------------------


@given(reals, reals, reals)
def test_a_squashed_normal_is_the_change_of_variables(mean, log_std, u):
    """p(a) = N(u) / (da/du): the first entry by a numerical derivative in float64, the second plainly normal."""
    p = TanhGaussian(mean, log_std, (True, False))
    μ, σ, at = (np.asarray(x, np.float64) for x in (mean, np.exp(log_std), u))
    action = np.array([np.tanh(at[0]), at[1]])
    slope = (np.tanh(at[0] + 1e-5) - np.tanh(at[0] - 1e-5)) / 2e-5
    expected = stats.norm.logpdf(at, μ, σ).sum() - np.log(slope)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(action, jnp.float32)), expected, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(p.mode(), [np.tanh(μ[0]), μ[1]], rtol=1e-5, atol=1e-6)
    other = TanhGaussian(mean + 0.5, log_std - 0.2, (True, False))
    np.testing.assert_allclose(
        p.kl(other), Gaussian(mean, log_std).kl(Gaussian(mean + 0.5, log_std - 0.2)), rtol=1e-5
    )


def test_samples_of_a_squashed_normal_come_with_their_log_probability():
    p = TanhGaussian(jnp.array([0.4, -2.0]), jnp.array([-0.3, 0.2]), (True, False))
    draws = jax.random.split(jax.random.key(0), SAMPLES)
    actions, logp = jax.jit(jax.vmap(p.sample_and_log_prob))(draws)
    np.testing.assert_allclose(actions, jax.vmap(p.sample)(draws), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logp, jax.vmap(p.log_prob)(actions), rtol=1e-3, atol=2e-3)
    squashed = np.asarray(actions, np.float64)
    assert np.abs(squashed[:, 0]).max() <= 1.0 < np.abs(squashed[:, 1]).max()
    assert stats.kstest((np.arctanh(squashed[:, 0]) - 0.4) / np.exp(-0.3), "norm").pvalue > 1e-3
    # Of a density over (−1, 1) × ℝ, the mean of 1/p over samples is the area where it lives: for the first entry alone, 2.
    one = TanhGaussian(jnp.array([0.4]), jnp.array([-0.3]), (True,))
    area = np.exp(-np.asarray(jax.vmap(one.log_prob)(actions[:, :1]), np.float64)).mean()
    assert abs(area - 2.0) < 0.1


def test_a_squashed_normal_is_finite_on_its_bounds():
    p = TanhGaussian(jnp.array([30.0, 1.0]), jnp.array([-5.0, 0.0]), (True, False))
    action, logp = p.sample_and_log_prob(jax.random.key(0))
    assert action[0] == 1.0 and np.isfinite(logp)
    for edge in (1.0, -1.0):
        at = lambda p, edge=edge: p.log_prob(jnp.array([edge, 7.0]))  # noqa: E731
        value, slope = jax.value_and_grad(at)(p)
        assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(slope))
    by_action = jax.grad(p.log_prob)(jnp.array([1.0, -7.0]))
    assert np.isfinite(by_action).all()


# --- masks ---------------------------------------------------------------------------------------------


def test_masked_choices_never_happen_and_their_gradients_are_finite():
    mask = jnp.array([True, False, True])

    def dist(outputs):
        return from_outputs(Discrete(3), outputs, outputs, mask)

    outputs = jnp.array([0.3, 5.0, -0.2])
    p = dist(outputs)
    actions = jax.jit(lambda keys: jax.vmap(p.sample)(keys))(jax.random.split(jax.random.key(0), 2000))
    assert set(np.asarray(actions).tolist()) == {0, 2} and int(p.mode()) == 0
    # What is left is a choice between two.
    two = Categorical(jnp.array([0.3, -0.2]))
    np.testing.assert_allclose(p.entropy(), two.entropy(), rtol=1e-5)
    np.testing.assert_allclose(p.log_prob(jnp.array(2)), two.log_prob(jnp.array(1)), rtol=1e-5)
    for f in (lambda x: dist(x).entropy(), lambda x: dist(x).log_prob(jnp.array(0)), lambda x: dist(x).kl(p)):
        gradient, curvature = jax.grad(f)(outputs), jax.jacfwd(jax.grad(f))(outputs)
        assert np.isfinite(gradient).all() and gradient[1] == 0.0 and np.isfinite(curvature).all()
    assert np.isfinite(MASKED_LOGIT) and float(jnp.exp(MASKED_LOGIT)) == 0.0


def test_each_space_has_its_distribution():
    outputs, log_std = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, -1.0, 0.5])
    match from_outputs(Box((-1.0,) * 3, (1.0,) * 3), outputs, log_std):
        case Gaussian(mean=mean, log_std=spread):
            np.testing.assert_array_equal(mean, outputs)
            np.testing.assert_array_equal(spread, log_std)
        case other:
            raise AssertionError(other)
    mask = jnp.array([True, True, False])
    several = from_outputs(MultiDiscrete((1, 2)), outputs, log_std, mask)
    assert isinstance(several, MultiCategorical) and several.mode().tolist() == [0, 0]


def test_uniform_is_uniform_over_what_is_allowed():
    p = uniform(Discrete(4), jnp.array([True, False, True, True]))
    assert math.isclose(p.entropy(), math.log(3), rel_tol=1e-6)
    normal = uniform(Box((-1.0, -1.0), (1.0, 1.0)))
    np.testing.assert_array_equal(normal.log_std, [0, 0])
