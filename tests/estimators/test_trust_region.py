"""Conjugate gradient against numpy's solver; the line search on functions whose steps are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.estimators.trust_region import conjugate_gradient, line_search


@pytest.mark.parametrize("n", [1, 6])
def test_conjugate_gradient_solves(n):
    rng = np.random.default_rng(n)
    m = rng.normal(size=(n, n))
    a, b = np.float32(m @ m.T + np.eye(n)), np.float32(rng.normal(size=n))
    x, residual = jax.jit(lambda b: conjugate_gradient(lambda v: jnp.asarray(a) @ v, b, 3 * n))(
        jnp.asarray(b)
    )
    np.testing.assert_allclose(x, np.linalg.solve(a, b), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(residual, b - a @ np.asarray(x), atol=1e-3)


def test_one_iteration_is_the_steepest_descent():
    """x = b·(bᵀb)/(bᵀAb): with A = diag(1, 3) and b = (1, 1), b/2; b − A x = (½, −½)."""
    x, residual = conjugate_gradient(lambda v: jnp.array([1.0, 3.0]) * v, jnp.ones(2), 1)
    np.testing.assert_allclose(x, [0.5, 0.5])
    np.testing.assert_allclose(residual, [0.5, -0.5])


def test_a_gradient_of_zero_gives_a_step_of_zero():
    x, _ = conjugate_gradient(lambda v: 2.0 * v, jnp.zeros(3), 10)
    np.testing.assert_array_equal(x, np.zeros(3))


def searched(evaluate, start=0.0, step=-8.0, max_kl=1e9, trials=6):
    """From `start` the search tries start + 8, start + 4, start + 2, …"""
    start = jnp.array([start])
    loss, _ = evaluate(start)
    found = jax.jit(lambda: line_search(evaluate, start, jnp.array([step]), loss, max_kl, trials))()
    return float(found.point[0]), bool(found.accepted), int(found.trials)


def parabola(point):
    """Least at 1; the divergence is the distance."""
    return jnp.sum((point - 1.0) ** 2), jnp.abs(point).sum()


def test_the_first_length_that_lowers_the_loss_is_taken():
    # 8 and 4 overshoot, and 2 is as far from 1 as the start: 1 is the first that is better.
    assert searched(parabola) == (1.0, True, 4)


def test_the_bound_on_the_divergence_holds():
    assert searched(parabola, max_kl=0.6) == (0.5, True, 5)


def test_where_nothing_is_better_the_start_stays():
    assert searched(lambda p: (jnp.sum(p**2), jnp.zeros(()))) == (0.0, False, 6)


@pytest.mark.parametrize("which", [0, 1])
def test_nan_is_never_taken(which):
    """Beyond 3 the loss, or the divergence, is NaN, where the loss would be lower."""

    def evaluate(point):
        good = (-jnp.sum(point), jnp.zeros(()))
        bad = tuple(jnp.where(point[0] > 3.0, jnp.nan, x) if i == which else x for i, x in enumerate(good))
        return bad[0], bad[1]

    assert searched(evaluate) == (2.0, True, 3)
    assert searched(lambda p: (jnp.where(p[0] != 0.0, jnp.nan, 1.0), jnp.zeros(())))[:2] == (0.0, False)


def test_the_report_is_of_the_point_taken():
    loss, _ = parabola(jnp.array([0.0]))
    found = line_search(parabola, jnp.array([0.0]), jnp.array([-8.0]), loss, 0.6, 6)
    assert (float(found.loss), float(found.kl)) == (0.25, 0.5)
