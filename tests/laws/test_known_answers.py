"""Tasks whose best adaptation is known by hand: learners reach it within seconds."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import TwoArms

from adaptax.algorithms.maml import MAML
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.transformer import Transformer
from adaptax.tasks.functions import Sinusoid
from adaptax.training.program import MOST_UPDATES, make_program
from adaptax.types import Step


def trained(config, family, updates):
    """Metrics [updates] of a run."""
    algorithm = config.build(family.spec)
    program = make_program(family)
    state = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    metrics = []
    for begin in range(0, updates, MOST_UPDATES):
        dispatch = program(algorithm, state, jnp.array(min(MOST_UPDATES, updates - begin), jnp.int32))
        state, done = dispatch.state, int(dispatch.done)
        metrics.append(jax.tree.map(lambda m, n=done: np.asarray(m)[:n], dispatch.metrics))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *metrics)


PPO = {"tasks": 64, "gamma": 1.0, "gae_lambda": 1.0, "epochs": 4, "minibatches": 2, "entropy": 0.0}
THAT_REMEMBER = {
    "rl2": (RL2(hidden=16, lr=1e-2, **PPO), 64),
    "snail": (SNAIL(hidden=8, filters=8, keys=8, values=8, lr=5e-3, **PPO), 32),
    "transformer": (Transformer(width=16, layers=1, heads=2, lr=5e-3, **PPO), 32),
}


@pytest.mark.parametrize("name", THAT_REMEMBER)
def test_learners_that_remember_find_the_arm_in_one_pull(name):
    """The first pull is a guess, and tells all: 1/2 + 3 of 4 pulls pay at best; without memory, 2."""
    config, updates = THAT_REMEMBER[name]
    returns = trained(config, TwoArms(), updates)["return"]
    assert abs(returns[:3].mean() - 2.0) < 0.3
    assert returns[-10:].mean() > 3.35


def test_one_policy_gradient_step_by_hand():
    """From a fair coin, n₀ of N pulls on the arm that pays: standardised advantages √(n₁/n₀) and −√(n₀/n₁), so that
    the step on the two logits is α √(n₀n₁)/N · (1, −1)."""
    family, α, n = TwoArms(), 1.5, 8
    algorithm = MAML(streams=n, hidden=(), inner_lr=α).build(family.spec)
    learner = algorithm.learner
    theta = jax.tree.map(jnp.zeros_like, learner.init(jax.random.key(0)))
    theta = eqx.tree_at(lambda t: t.normaliser, theta, learner.init(jax.random.key(0)).normaliser)
    fast = learner.begin(theta, jax.random.key(0), None)
    adapt = eqx.filter_jit(learner.adapt)
    column = lambda x, dtype=jnp.float32: jnp.array(x, dtype)[:, None]  # noqa: E731
    for n0 in (4, 1):
        pays = np.arange(n) < n0
        zero, yes = jnp.zeros((n, 1)), jnp.ones((n, 1), bool)
        rows = Step(
            obs=jnp.zeros((n, 1, 1)), prev_action=zero, prev_reward=zero, first=yes, episode=zero,
            action=column(~pays, jnp.int32), reward=column(pays), terminated=yes, truncated=~yes, valid=yes,
        )  # fmt: skip
        after = adapt(theta, fast, rows, jax.random.key(0))
        step = α * np.sqrt(n0 * (n - n0)) / n
        np.testing.assert_allclose(after.policy.mlp.layers[0].bias, [step, -step], rtol=1e-3)


def test_maml_learns_a_policy_that_one_step_makes_sure():
    """Before adaptation nothing is known, and half the pulls pay; ten pulls tell the arm."""
    config = MAML(tasks=16, streams=10, hidden=(8,), inner_lr=1.0, lr=2e-2, epochs=4, max_kl_nats=0.3)
    metrics = trained(config, TwoArms(), 64)
    before, after = metrics["return_before_adaptation"], metrics["return"]
    assert after[:3].mean() < 0.85
    assert abs(before[-10:].mean() - 0.5) < 0.1
    assert after[-10:].mean() > 0.95


def test_a_bounded_inner_step_is_no_longer_than_its_bound():
    """A line from 0 and one example far off: the step has the length α · bound, in the gradient's direction."""
    family = Sinusoid(shots=1, queries=1)
    free, bounded = (
        MAML(hidden=(), inner_lr=0.1, examples_max_norm=n).build(family.spec).learner for n in (0.0, 3.0)
    )
    theta = free.init(jax.random.key(0))
    theta = eqx.tree_at(lambda t: t.policy, theta, jax.tree.map(jnp.zeros_like, theta.policy))
    z, yes = jnp.zeros((1, 1)), jnp.ones((1, 1), bool)
    rows = Step(
        obs=jnp.full((1, 1, 1), 2.0), prev_action=z[..., None], prev_reward=z, first=yes, episode=z,
        action=jnp.full((1, 1, 1), 50.0), valid=yes,
    )  # fmt: skip
    moved = []
    for learner in (free, bounded):
        fast = learner.adapt(theta, learner.begin(theta, jax.random.key(0), None), rows, jax.random.key(0))
        moved.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(fast.policy.mlp)]))
    np.testing.assert_allclose(moved[0], [20.0, 10.0], rtol=1e-5)  # 0.1 · 2 · 50 · (2, 1)
    np.testing.assert_allclose(moved[1], 0.3 * moved[0] / np.linalg.norm(moved[0]), rtol=1e-5)
