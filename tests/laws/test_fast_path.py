"""L5: what a learner says of many steps at once is what it says step by step, and so are the gradients."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.experience import collected
from laws.learners import LAYOUTS, LEARNERS, PROBES, Case

from adaptax import trees
from adaptax.learner import Learner


@eqx.filter_jit
def both_ways(learner, theta, fast, memory, steps, weights):
    """(outs, last memory) and gradients of `unroll`, and of a scan of `act`, for one stream [T]; from its first row on where
    memory is None."""

    def run(unroll):
        def loss(inputs):
            theta, fast, memory = inputs
            outs, last = unroll(learner, theta, fast, memory, steps, jax.random.key(7))
            # Any smooth function of all that is said in valid rows, and of the last memory.
            said = jax.tree.leaves((outs, last))
            used = [
                jnp.where(_over(steps.valid, x), x, 0.0)
                if x.ndim and x.shape[0] == steps.valid.shape[0]
                else x
                for x in said
            ]
            return sum(jnp.sum(jnp.sin(x + weights[i])) for i, x in enumerate(used)), (outs, last)

        inexact, rest = eqx.partition((theta, fast, memory), eqx.is_inexact_array)
        return jax.grad(lambda x: loss(eqx.combine(x, rest)), has_aux=True)(inexact)

    def anew(learner, theta, fast, memory, steps, key):
        return learner.unroll_anew(theta, fast, steps, key)

    def step_by_step(learner, theta, fast, memory, steps, key):
        return Learner.unroll(
            learner, theta, fast, learner.remember(theta) if memory is None else memory, steps, key
        )

    return run(anew if memory is None else type(learner).unroll), run(step_by_step)


def _over(valid, x):
    return valid.reshape(-1, *[1] * (x.ndim - 1))


def check(case: Case) -> None:
    learner, theta = case.learner, case.theta
    lifetime = collected(case, LAYOUTS["episodes"])
    steps = trees.index(lifetime.rounds, (0, 1, 1))
    # Rows to pass over at the end, as collect makes them, and one between.
    steps = eqx.tree_at(
        lambda s: s.valid, steps, jnp.array([True, True, False, True, True, True, False, False])
    )
    features = lifetime.features[0] if learner.told else None
    fast = learner.begin(theta, jax.random.key(8), features)
    # A memory that has seen another stream, and differs from what it would be then: all of it matters.
    seen = trees.index(lifetime.rounds, (1, 0, 0))
    _, memory = Learner.unroll(learner, theta, fast, learner.remember(theta), seen, jax.random.key(9))
    memory = jax.tree.map(lambda x: x + 0.3 if jnp.issubdtype(x.dtype, jnp.floating) else x, memory)
    compare(learner, theta, fast, memory, steps)
    if type(learner).unroll_anew is not Learner.unroll_anew:
        compare(learner, theta, fast, None, steps)


def compare(learner, theta, fast, memory, steps) -> None:
    weights = jnp.linspace(0.0, 2.0, 16)
    (fast_gradient, fast_said), (gradient, said) = both_ways(learner, theta, fast, memory, steps, weights)
    keep = np.asarray(steps.valid)
    for one, other in zip(jax.tree.leaves(fast_said[0]), jax.tree.leaves(said[0]), strict=True):
        np.testing.assert_allclose(np.asarray(one)[keep], np.asarray(other)[keep], rtol=1e-4, atol=1e-5)
    compared = (fast_said[1], fast_gradient), (said[1], gradient)
    for one, other in zip(*map(jax.tree.leaves, compared), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=3e-5)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0.01


OF_EACH_KIND = {type(case.learner): name for name, case in LEARNERS.items() if name not in PROBES}
"""Algorithms whose learner is the same have the same two paths; the Transformer here looks back on a part of the lifetime only."""


@pytest.mark.parametrize("name", [*OF_EACH_KIND.values(), "transformer"])
def test_unroll_is_a_scan_of_act(name):
    check(LEARNERS[name])
