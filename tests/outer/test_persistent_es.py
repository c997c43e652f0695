"""Persistent evolution strategies: the estimator where the gradient is known, and its particles."""

from __future__ import annotations

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor
from laws import test_resume
from laws.experience import draw
from laws.learners import Case

from adaptax import keys, trees
from adaptax.algorithms.l2o import L2O
from adaptax.algorithms.l2o_es import EvolvedL2O
from adaptax.collection.collect import collect
from adaptax.collection.replay import replay_from
from adaptax.outer.persistent_es import antithetic, estimate, perturbations
from adaptax.tasks.functions import Quadratic
from adaptax.training.program import make_program
from adaptax.types import Behaviour

NOISE = jnp.array(0.1)


def check_antithetic() -> None:
    """On a quadratic the mean of the estimates is the gradient, within four standard errors."""
    curvature, slope = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([1.0, -3.0])
    θ = {"x": jnp.array([0.4, -0.2])}
    loss = lambda θ: 0.5 * θ["x"] @ curvature @ θ["x"] + slope @ θ["x"]  # noqa: E731

    def one(key):
        ε = perturbations(θ, 16, NOISE, key)
        return estimate(ε, jax.vmap(loss)(antithetic(θ, ε)), NOISE)["x"]

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2000)))
    error = found.mean(0) - np.asarray(jax.grad(loss)(θ)["x"])
    assert (np.abs(error) < 4 * found.std(0) / np.sqrt(len(found))).all(), error


def test_the_antithetic_estimate_is_the_gradient():
    check_antithetic()


WINDOWS = 4


def window(θ, x):
    """One window: x' = 0.9 x + θ, and L = ½ (x' − 2)²: what θ does to later windows is most of its effect."""
    x = 0.9 * x + θ
    return 0.5 * (x - 2.0) ** 2, x


def test_persistent_estimates_are_unbiased_where_truncated_ones_are_not():
    θ = jnp.array(0.3)

    def total(θ):
        x, losses = jnp.zeros(()), 0.0
        for _ in range(WINDOWS):
            loss, x = window(θ, x)
            losses += loss
        return losses

    def one(key, persistent):
        pairs = 16
        x, ξ, gradient = jnp.zeros(2 * pairs), jnp.zeros(pairs), 0.0
        for k in jax.random.split(key, WINDOWS):
            ε = perturbations(θ, pairs, NOISE, k)
            losses, x = jax.vmap(window)(antithetic(θ, ε), x)
            ξ = ξ + ε
            gradient += estimate(jnp.where(persistent, ξ, ε), losses, NOISE)
        return gradient

    exact = float(jax.grad(total)(θ))
    run = jax.jit(jax.vmap(one, (0, None)))
    for persistent in (True, False):
        found = np.asarray(run(jax.random.split(jax.random.key(0), 4000), persistent))
        error, standard_error = found.mean() - exact, found.std() / np.sqrt(len(found))
        assert (abs(error) < 4 * standard_error) == persistent
        assert persistent or abs(error) > 0.2 * abs(exact)


CONFIG = EvolvedL2O(
    tasks=4,
    streams=2,
    horizon=3,
    truncation=1,
    hidden=(3,),
    optimizer_hidden=3,
    noise=0.05,
)


def check_particles() -> None:
    """ξ is the sum of the perturbations since an inner training began; it, the task and the policy begin anew after the horizon."""
    algorithm = CONFIG.build(Corridor().spec)
    program = make_program(Corridor())
    states = [eqx.filter_jit(algorithm.init)(jax.random.key(0))]
    for _ in range(3):
        states.append(program(algorithm, states[-1], jnp.array(1, jnp.int32)).state)
    # The first pair begins at age 0, the second at age 1 of 3.
    assert [s.aux.age.tolist() for s in states] == [[0, 1], [1, 2], [2, 0], [0, 1]]

    def drawn(state):
        params = eqx.filter(state.theta, algorithm.learner.trainable(state.theta))
        return perturbations(params, 2, algorithm.noise, keys.update(state.key, state.updates, keys.BEHAVE))  # type: ignore[attr-defined]

    expected = trees.add(drawn(states[0]), drawn(states[1]))
    for ξ, sum_of_two, none in zip(
        *map(jax.tree.leaves, (states[2].aux.accumulated, expected, states[3].aux.accumulated)), strict=True
    ):
        np.testing.assert_allclose(ξ[0], sum_of_two[0], rtol=1e-5, atol=1e-7)
        assert not ξ[1].any() and not none[0].any() and none[1].any()
    tasks = [jax.random.key_data(s.aux.draws) for s in states]
    for i, renewed in ((0, [False, False, True]), (1, [False, True, False])):
        changed = [not np.array_equal(a[i], b[i]) for a, b in itertools.pairwise(tasks)]
        assert changed == renewed
    steps = [s.aux.fast.steps.tolist() for s in states]
    assert steps == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 0, 0], [0, 0, 1, 1]]


def test_particles_persist_until_the_horizon():
    check_particles()


UNROLLED = L2O(tasks=4, horizon=3, truncation=1, hidden=(), optimizer_hidden=3, max_kl_nats=1.0)


@pytest.mark.parametrize("config", [dataclasses.replace(CONFIG, hidden=()), UNROLLED], ids=["l2o-es", "l2o"])
def test_supervised_runs_resume_bit_for_bit(config):
    family = Quadratic(dimensions=2)
    algorithm = config.build(family.spec)
    test_resume.check(Case(algorithm.learner, family, algorithm))


def test_replay_from_ends_where_collect_does():
    """The fast state after the last round too, from a state that is not that of a beginning."""
    family = Corridor()
    algorithm = dataclasses.replace(CONFIG, truncation=3).build(family.spec)
    learner, layout = algorithm.learner, dataclasses.replace(algorithm.layout, adapt_last=True)
    theta = learner.init(jax.random.key(0))
    tasks, task_keys = draw(family)

    @eqx.filter_jit
    def twice(theta, tasks, task_keys):
        begun = collect(learner, family, Behaviour(theta, tasks=tasks), layout, task_keys)[1]
        lifetime, fast, _ = collect(
            learner, family, Behaviour(theta, tasks=tasks, fast=begun), layout, task_keys
        )
        again = jax.vmap(lambda one, fast: replay_from(learner, theta, one, layout, fast))(lifetime, begun)
        return lifetime.rounds.dist, fast, again

    dist, fast, (out, fast_again) = twice(theta, tasks, task_keys)
    for a, b in zip(jax.tree.leaves((dist, fast)), jax.tree.leaves((out.dist, fast_again)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert fast.steps.tolist() == [6, 6, 6, 6]
