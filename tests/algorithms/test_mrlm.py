"""MRLM: the fit and its derivative, which steps of a lifetime judge it, and a task with a known answer."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import GatedCorridor, Steer
from jax.flatten_util import ravel_pytree
from laws.experience import collected
from laws.learners import ALGORITHMS, LAYOUTS

from adaptax import trees
from adaptax.adaptation.dynamics_model import model_rows
from adaptax.algorithms.model_based import in_order
from adaptax.algorithms.mrlm import MRLM
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.training.progress import silent
from adaptax.training.train import train

CASE = ALGORITHMS["mrlm, continuous"]


def lifetime(layout="episodes"):
    return trees.index(collected(CASE, LAYOUTS[layout]).rounds, 0)


def member():
    return trees.index((CASE.theta.networks, CASE.theta.adaptation), 0)


def check_meta_gradient() -> None:
    """Of the query's loss through the fit, in weights and step sizes, against finite differences."""
    seen = in_order(lifetime())
    flat, back = ravel_pytree(member())
    direction = jax.random.normal(jax.random.key(5), flat.shape) / 10

    @jax.jit
    def loss(x):
        return CASE.algorithm.loss(*back(x), CASE.theta.scales, seen, jax.random.key(8))[0]

    h = 1e-2
    numeric = (loss(flat + h * direction) - loss(flat - h * direction)) / (2 * h)
    exact = jax.grad(loss)(flat) @ direction
    assert abs(exact) > 1e-2
    np.testing.assert_allclose(exact, numeric, rtol=0.05)


def check_fit() -> None:
    """A fit begins with θ whatever was fitted before, on the newest steps; of none it leaves θ as it is."""
    learner, theta = CASE.learner, CASE.theta
    first, second = (trees.index(lifetime("budget"), k) for k in range(2))
    fast = learner.begin(theta, jax.random.key(0), None)
    adapt = eqx.filter_jit(learner.adapt)
    both = adapt(theta, adapt(theta, fast, first, jax.random.key(1)), second, jax.random.key(1))
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[-learner.window :], model_rows(second))
    fit = eqx.filter_jit(learner.fitted)
    expected = fit(*member(), theta.scales, rows, jnp.ones(learner.window, bool))
    moved = False
    for got, wanted, before in zip(
        *map(jax.tree.leaves, (trees.index(both.networks, 0), expected, member()[0])), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        moved |= not np.allclose(got, before, atol=1e-4)
    assert moved
    none = fit(*member(), theta.scales, rows, jnp.zeros(learner.window, bool))
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (none, member()[0])), strict=True))


def check_order() -> None:
    """The valid rows of a lifetime, in the order in which they were made, then the others."""
    rows = lifetime()
    seen = in_order(rows)
    valid = np.asarray(rows.valid).reshape(-1)
    assert 0 < valid.sum() < valid.size
    np.testing.assert_array_equal(seen.valid, np.sort(valid)[::-1])
    np.testing.assert_array_equal(seen.rows.reward[: valid.sum()], np.asarray(rows.reward).reshape(-1)[valid])


def test_the_meta_gradient_goes_through_the_fit():
    check_meta_gradient()


def test_a_fit_begins_anew_on_the_newest_steps():
    check_fit()


def test_a_lifetime_is_kept_in_order():
    check_order()


def test_a_model_finds_out_which_way_actions_work():
    """After an episode it steers to where it pays; before, it cannot know."""
    config = MRLM(
        tasks=16, hidden=(32,), members=1, gradient_steps=1000, lifetimes=64, horizon=4, candidates=32, window=10, query=5
    )  # fmt: skip
    run = train(config, Steer(), 3, 0, report=silent)
    result = evaluate(run, tasks=40, episodes=2)
    before, after = result.curve().mean((0, 1))
    assert after > Steer.BEST - 2.0 and after > before + 8.0


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(AdaptaxError, match="always allowed"):
        MRLM().build(GatedCorridor().spec)
    with pytest.raises(AdaptaxError, match="smoothness"):
        dataclasses.replace(MRLM(), smoothness=1.5).build(Steer().spec)
