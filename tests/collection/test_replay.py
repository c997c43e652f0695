"""Long lifetimes are replayed round by round, and computed once more on the way back: the same numbers in less memory."""

from __future__ import annotations

from unittest.mock import patch

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from laws.experience import collected, mapped
from laws.learners import LEARNERS

from adaptax.collection import replay
from adaptax.types import Layout

LAYOUT = Layout(replay.LONG_LIFETIME + 2, 2, 4, episodes=1)


def in_precision(tree):
    """In what jax computes in now."""
    return jax.tree.map(lambda x: jnp.asarray(x, float) if eqx.is_inexact_array(x) else x, tree)


def loss_and_gradient(case, layout=LAYOUT):
    """A program of theta's trained part: −mean log π of all rounds' actions + mean V', of one task, and its gradient."""
    with jax.enable_x64(False):
        lifetime = jax.tree.map(lambda x: x[0], collected(case, layout))
    learner, theta, lifetime = (in_precision(x) for x in (case.learner, case.theta, lifetime))
    params, frozen = eqx.partition(theta, learner.trainable(theta))

    def loss(params):
        theta = eqx.combine(params, frozen)
        out, following = replay.replay_with_values(learner, theta, lifetime, layout, "episode")
        logp = mapped(lambda dist, action: dist.log_prob(action), 3)(out.dist, lifetime.rounds.action)
        return following.mean() - jnp.where(lifetime.rounds.valid, logp, 0.0).mean(), (out, following)

    return jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(params).compile(), params


def both_ways(case, layout=LAYOUT):
    long = loss_and_gradient(case, layout)
    with patch.object(replay, "LONG_LIFETIME", layout.rounds):
        return long, loss_and_gradient(case, layout)


@pytest.mark.parametrize("name", ["maml, continuous", "probe"])
def test_long_lifetimes_have_the_same_values_and_gradients(name):
    with jax.enable_x64(
        name != "probe"
    ):  # single precision loses three digits in the regression of MAML's baseline
        check(name)


def check(name):
    (long, params), (plain, _) = both_ways(LEARNERS[name])
    (_, values), gradient = long(params)
    (_, expected_values), expected = plain(params)
    for found, e in zip(jax.tree.leaves(values), jax.tree.leaves(expected_values), strict=True):
        np.testing.assert_allclose(found, e, atol=1e-6)
    expected = ravel_pytree(expected)[0]
    assert float(jnp.linalg.norm(expected)) > 1e-3
    np.testing.assert_allclose(
        ravel_pytree(gradient)[0], expected, atol=1e-6 * float(jnp.abs(expected).max())
    )


def test_long_lifetimes_take_less_memory():
    (long, _), (plain, _) = both_ways(LEARNERS["maml, continuous"], Layout(8, 10, 40, episodes=1))
    sizes = [program.memory_analysis().temp_size_in_bytes for program in (long, plain)]
    print("bytes:", sizes)
    assert sizes[0] < 0.5 * sizes[1]
