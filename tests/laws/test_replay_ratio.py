"""L1: under the parameters that collected, replay says what was said then."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest
from laws.experience import collected, mapped
from laws.learners import LAYOUTS, LEARNERS, Case, one_of_each

from adaptax.collection.replay import replay
from adaptax.types import Layout


@eqx.filter_jit
def replayed(learner, theta, lifetime, layout):
    out = jax.vmap(lambda one: replay(learner, theta, one, layout))(lifetime)
    return out, mapped(lambda dist, action: dist.log_prob(action), 4)(out.dist, lifetime.rounds.action)


def check(case: Case, layout: Layout) -> None:
    lifetime = collected(case, layout)
    out, logp = replayed(case.learner, case.theta, lifetime, layout)
    rows = lifetime.rounds
    valid = np.asarray(rows.valid)
    ends = np.asarray(rows.terminated)[valid].any() and np.asarray(rows.truncated)[valid].any()
    assert ends and valid.all() == (layout.episodes is None), (
        "the data lack an end or an invalid row to be tested"
    )

    np.testing.assert_allclose(np.exp(np.asarray(logp - rows.logp)[valid]), 1.0, atol=1e-5)
    then, now = (rows.dist, rows.value, rows.aux), (out.dist, out.value, out.aux)
    assert jax.tree.structure(then) == jax.tree.structure(now)
    for a, b in zip(jax.tree.leaves(then), jax.tree.leaves(now), strict=True):
        np.testing.assert_allclose(np.asarray(b)[valid], np.asarray(a)[valid], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in LEARNERS if "masked" in name or name in one_of_each(LEARNERS)]
)
def test_replay_repeats_the_lifetime(name):
    check(LEARNERS[name], LAYOUTS["episodes"])


@pytest.mark.parametrize("layout", ["one episode", "budget", "carry"])
@pytest.mark.parametrize("name", ["probe", "rl2, continuous"])
def test_replay_repeats_the_lifetime_under_every_layout(name, layout):
    check(LEARNERS[name], LAYOUTS[layout])
