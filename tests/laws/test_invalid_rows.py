"""Rows that are not valid, after a stream's last episode, weigh nothing."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest
from laws.experience import collected, garbage_in_invalid_rows
from laws.learners import ALGORITHMS, Case


def check(case: Case) -> None:
    """What stands in rows that are not valid changes nothing that is learned."""
    algorithm = case.algorithm
    assert algorithm is not None
    lifetime = collected(case, algorithm.layout)
    state = eqx.tree_at(lambda s: s.theta, eqx.filter_jit(algorithm.init)(jax.random.key(0)), case.theta)
    learn = eqx.filter_jit(lambda state, life: algorithm.learn(state, life, jax.random.key(1)))
    clean, spoiled = learn(state, lifetime), learn(state, garbage_in_invalid_rows(lifetime))
    assert not lifetime.rounds.valid.all()
    moved = False
    for a, b, start in zip(
        *map(jax.tree.leaves, (clean[0].theta, spoiled[0].theta, case.theta)), strict=True
    ):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
        moved |= not np.allclose(a, start, atol=1e-5)
    assert moved, "nothing was learned, so that nothing was tested"


@pytest.mark.parametrize(
    "name",
    [
        "rl2, continuous",
        "varibad, continuous",
        "snail",
        "transformer, continuous",
        "maml",
        "maml-trpo, continuous",
        "promp",
        "emaml",
        "l2o",
        "metanet",
        "pearl",
        "rebal",
        "multi-task",
    ],
)
def test_invalid_rows_weigh_nothing(name):
    check(ALGORITHMS[name])
