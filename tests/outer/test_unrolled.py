"""Objectives of whole inner trainings: their gradients, cut or not, against finite differences; weights and units by hand."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Corridor
from jax.flatten_util import ravel_pytree
from laws.experience import collected_on, draw
from laws.learners import scrambled

from adaptax import keys, trees
from adaptax.algorithms.l2o import L2O
from adaptax.collection.few_shot import draw_few_shot
from adaptax.estimators.supervised import prediction_error
from adaptax.outer.unrolled import EveryRound, comparable_advantages, mean_error
from adaptax.tasks.functions import Quadratic
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.types import Lifetime

STEPS = 4


def check_gradient(truncation: int) -> None:
    """The network's inputs are constants (Andrychowicz et al. 2016, §2.1), and windows of `truncation` steps begin from given
    states: with both held at what they are, the objective's finite differences are the meta-gradient."""
    with jax.enable_x64(True):
        family = Quadratic(dimensions=2)
        learner = L2O(hidden=(), optimizer_hidden=3, inner_lr=0.3).learner(family.spec, truncation)
        theta = scrambled(learner, learner.init(jax.random.key(0)))
        theta = jax.tree.map(lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x, theta)
        tasks = draw_tasks(family, jax.random.key(1), "train", 1)
        data = trees.index(draw_few_shot(family, tasks, lifetime_keys(jax.random.key(2), 1), "train"), 0)
        data = jax.tree.map(lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x, data)
        begun = learner.begin(theta, keys.begin(data.keys), None)
        begun = jax.tree.map(lambda x: x.astype(jnp.float64) if eqx.is_inexact_array(x) else x, begun)
        flat, unravel = ravel_pytree(theta.rule)

        def ours(flat):
            there = eqx.tree_at(lambda t: t.rule, theta, unravel(flat))
            return mean_error(learner, there, data, STEPS, begun)[0]

        def error(policy):
            dist = jax.vmap(lambda row: policy(theta.normaliser.observation(row.obs), None))(data.query)
            return jax.vmap(prediction_error)(dist, data.query.action).mean()

        support = trees.index(data.support, jnp.newaxis)
        states = [begun]
        for _ in range(STEPS):
            states.append(learner.adapt(theta, states[-1], support, jax.random.key(0)))

        def held(flat):
            ψ, total = unravel(flat), 0.0
            policy, state = begun.policy, begun.rule
            for k, there in enumerate(states[:-1]):
                if truncation and k % truncation == 0:
                    policy, state = there.policy, there.rule
                params, _ = learner.adapting(there.policy)
                gradient = jax.grad(learner.inner_objective(theta, support))(there.policy)
                Δ, state = learner.rule.step(ψ, state, params, gradient, jnp.zeros(()))
                policy = trees.add(policy, Δ)
                total += error(policy) / STEPS
            return total

        np.testing.assert_allclose(held(flat), ours(flat), rtol=1e-5)
        gradient = jax.jit(jax.grad(ours))(flat)
        rng, held = np.random.default_rng(0), jax.jit(held)
        for _ in range(3):
            direction = jnp.asarray(rng.normal(size=flat.shape))
            h = 1e-5
            numeric = (held(flat + h * direction) - held(flat - h * direction)) / (2 * h)
            np.testing.assert_allclose(gradient @ direction, numeric, rtol=1e-4)


@pytest.mark.parametrize("truncation", [0, 2])
def test_the_meta_gradient_is_that_of_the_inner_training_with_inputs_held(truncation):
    check_gradient(truncation)


def test_truncation_changes_the_gradient():
    """The law above could not tell a cut from none if there were nothing to cut."""
    config = L2O(tasks=1, horizon=STEPS, hidden=(), optimizer_hidden=3, inner_lr=0.3)
    found = []
    for truncation in (0, 2):
        learner = config.learner(Quadratic(dimensions=2).spec, truncation)
        theta = scrambled(learner, learner.init(jax.random.key(0)))
        tasks = draw_tasks(Quadratic(dimensions=2), jax.random.key(1), "train", 1)
        data = draw_few_shot(Quadratic(dimensions=2), tasks, lifetime_keys(jax.random.key(2), 1), "train")
        data = trees.index(data, 0)

        def loss(rule, learner=learner, theta=theta, data=data):
            there = eqx.tree_at(lambda t: t.rule, theta, rule)
            begun = learner.begin(there, keys.begin(data.keys), None)
            return mean_error(learner, there, data, STEPS, begun)[0]

        found.append(ravel_pytree(jax.grad(loss)(theta.rule))[0])
    assert float(jnp.abs(found[0] - found[1]).max()) > 1e-3 * float(jnp.abs(found[0]).max())


def lived(config: L2O):
    """An algorithm, its θ, and the lifetimes of one meta-update."""
    family = Corridor()
    algorithm = config.build(family.spec)
    theta = scrambled(algorithm.learner, algorithm.learner.init(jax.random.key(0)))
    return algorithm, theta, collected_on(algorithm.learner, family, theta, algorithm.layout, *draw(family))


def check_weights() -> None:
    """On what has just been collected the ratio is 1: the loss is −Σ_t w_k A + entropy terms, averaged over rounds and streams."""
    config = L2O(tasks=2, streams=2, horizon=3, hidden=(3,), optimizer_hidden=3)
    algorithm, theta, lifetimes = lived(config)
    one: Lifetime = trees.index(lifetimes, 0)
    advantage = jax.random.normal(jax.random.key(3), one.rounds.reward.shape)
    sums = np.asarray(jnp.where(one.rounds.valid, advantage, 0.0).sum(-1))  # [K, N]
    for late in (0.0, 1.0):
        objective = EveryRound(jnp.array(0.2), jnp.array(late), jnp.array(0.0))
        loss, _ = objective.loss(algorithm.learner, theta, one, advantage, algorithm.layout)
        weight = (np.arange(4) / 3.0) ** late
        expected = -(sums * (weight / weight.mean())[:, None]).mean()
        np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_rounds_weigh_as_stated():
    check_weights()


def check_units() -> None:
    """One scale for all tasks and rounds: the root mean square is 1, and no round has it by itself."""
    algorithm, _, lifetimes = lived(L2O(tasks=4, streams=3, horizon=3, hidden=(3,), optimizer_hidden=3))
    γ = algorithm.learner.γ
    advantage = np.asarray(comparable_advantages(lifetimes, γ, algorithm.learner.λ))
    valid = np.asarray(lifetimes.rounds.valid)
    np.testing.assert_allclose((advantage[valid] ** 2).mean(), 1.0, rtol=1e-3)
    rounds = [(advantage[:, k][valid[:, k]] ** 2).mean() for k in range(advantage.shape[1])]
    assert max(rounds) - min(rounds) > 0.05
    louder = eqx.tree_at(lambda l: l.rounds.reward, lifetimes, 10.0 * lifetimes.rounds.reward)
    again = np.asarray(comparable_advantages(louder, γ, algorithm.learner.λ))
    np.testing.assert_allclose(again[valid], advantage[valid], rtol=1e-2, atol=1e-3)


def test_advantages_have_one_unit_for_all():
    check_units()
