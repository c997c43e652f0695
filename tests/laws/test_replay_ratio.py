"""L1: under the parameters that collected, replay says what was said then."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
import pytest

from adaptax.collection.collect import collect
from adaptax.collection.replay import replay
from adaptax.types import Behaviour, Layout
from laws.learners import LAYOUTS, LEARNERS, TASKS, Case


@eqx.filter_jit
def collected_and_replayed(learner, family, theta, layout):
    tasks = jax.vmap(lambda key: family.sample(key, "train"))(jax.random.split(jax.random.key(1), TASKS))
    task_keys = jax.random.split(jax.random.key(2), TASKS)
    lifetime, _, _ = collect(learner, family, Behaviour(theta, tasks=tasks), layout, task_keys)
    out = jax.vmap(lambda one: replay(learner, theta, one, layout))(lifetime)
    log_prob = lambda dist, action: dist.log_prob(action)  # noqa: E731
    for _ in range(4):
        log_prob = jax.vmap(log_prob)
    return lifetime.rounds, out, log_prob(out.dist, lifetime.rounds.action)


def check(case: Case, layout: Layout) -> None:
    rows, out, logp = collected_and_replayed(case.learner, case.family, case.theta, layout)
    valid = np.asarray(rows.valid)
    ends = np.asarray(rows.terminated)[valid].any() and np.asarray(rows.truncated)[valid].any()
    assert ends and valid.all() == (layout.episodes is None), "the data lack an end or an invalid row to be tested"

    ratio = np.exp(np.asarray(logp - rows.logp)[valid])
    np.testing.assert_allclose(ratio, 1.0, atol=1e-5)
    stored = (rows.dist, rows.value, rows.aux)
    assert jax.tree.structure(stored) == jax.tree.structure((out.dist, out.value, out.aux))
    for then, now in zip(jax.tree.leaves(stored), jax.tree.leaves((out.dist, out.value, out.aux)), strict=True):
        np.testing.assert_allclose(np.asarray(now)[valid], np.asarray(then)[valid], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_replay_repeats_the_lifetime(name):
    check(LEARNERS[name], LAYOUTS["episodes"])


@pytest.mark.parametrize("layout", ["one episode", "budget", "carry"])
@pytest.mark.parametrize("name", ["probe", "rl2, continuous", "maml, continuous"])
def test_replay_repeats_the_lifetime_under_every_layout(name, layout):
    check(LEARNERS[name], LAYOUTS[layout])
