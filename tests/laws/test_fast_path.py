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
def both_ways(learner, theta, fast, memory, steps, later, weights):
    """What `unroll` says of one stream [T], and of `later` rows with the memory that it leaves; the same of a scan of `act`; and
    the gradients."""

    def run(unroll):
        def loss(inputs):
            theta, fast, memory = inputs
            outs, last = unroll(learner, theta, fast, memory, steps, jax.random.key(7))
            # Memories are alike that act alike: what is never read again may differ.
            after, _ = Learner.unroll(learner, theta, fast, last, later, jax.random.key(9))
            said = [(x, steps) for x in jax.tree.leaves(outs)] + [(x, later) for x in jax.tree.leaves(after)]
            used = [jnp.where(rows.valid.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0) for x, rows in said]
            # Any smooth function of all that is said in valid rows.
            return sum(jnp.sum(jnp.sin(x + weights[i])) for i, x in enumerate(used)), used

        inexact, rest = eqx.partition((theta, fast, memory), eqx.is_inexact_array)
        return jax.grad(lambda x: loss(eqx.combine(x, rest)), has_aux=True)(inexact)

    return run(type(learner).unroll), run(Learner.unroll)


def check(case: Case) -> None:
    learner, theta = case.learner, case.theta
    lifetime = collected(case, LAYOUTS["episodes"])
    earlier, steps, later = (trees.index(lifetime.rounds, (0, k, n)) for k, n in ((0, 0), (1, 1), (1, 0)))
    # Rows to pass over at the end, as collect makes them, and one between.
    valid = jnp.array([True, True, False, True, True, True, False, False])
    steps = eqx.tree_at(lambda s: s.valid, steps, valid)
    features = lifetime.features[0] if learner.told else None
    fast = learner.begin(theta, jax.random.key(8), features)
    _, memory = Learner.unroll(learner, theta, fast, learner.remember(theta), earlier, jax.random.key(6))
    weights = jnp.linspace(0.0, 2.0, 16)
    (one_gradient, one), (gradient, other) = both_ways(learner, theta, fast, memory, steps, later, weights)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(jax.tree.leaves(one_gradient), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0.01


@pytest.mark.parametrize("name", [name for name in LEARNERS if name not in PROBES])
def test_unroll_is_a_scan_of_act(name):
    check(LEARNERS[name])
