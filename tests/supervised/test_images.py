"""Learners on labelled images: what a query may depend on, and that they learn."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import test_resume
from laws.learners import IMAGES

from adaptax import trees
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.registry import defaults
from adaptax.collection.few_shot import draw_few_shot, predict
from adaptax.errors import AdaptaxError
from adaptax.tasks.functions import Sinusoid
from adaptax.tasks.omniglot import Omniglot
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.types import FewShot


def data(family) -> FewShot:
    drawn = draw_tasks(family, jax.random.key(0), "train", 2)
    return trees.index(draw_few_shot(family, drawn, lifetime_keys(jax.random.key(1), 2), "train"), 0)


def check_what_a_query_sees(name: str) -> None:
    """Its own image; the other queries where the learner says so, and never a label; and no row that only fills up."""
    case = IMAGES[name]
    one, theta = data(case.family), case.theta
    query = one.query
    moved = dataclasses.replace(query, obs=query.obs.at[1].add(1.0), action=(query.action + 1) % 2)
    filling = dataclasses.replace(moved, valid=query.valid.at[1].set(False))
    ask = eqx.filter_jit(
        lambda q: predict(case.learner, theta, dataclasses.replace(one, query=q), 1).dist.logits
    )
    a, b = np.asarray(ask(query)), np.asarray(ask(moved))
    assert np.abs(a[1] - b[1]).max() > 1e-5
    if case.learner.transductive:
        assert np.abs(a[0] - b[0]).max() > 1e-5
        spoiled = dataclasses.replace(filling, obs=filling.obs.at[1].set(7.0))
        np.testing.assert_allclose(np.delete(ask(filling), 1, 0), np.delete(ask(spoiled), 1, 0), atol=1e-5)
    else:
        np.testing.assert_array_equal(np.delete(a, 1, 0), np.delete(b, 1, 0))


@pytest.mark.parametrize("name", IMAGES)
def test_a_query_sees_what_the_learner_says(name):
    check_what_a_query_sees(name)


def check_statistics_of_the_support() -> None:
    """Not transductive: queries are normalised by the support's statistics under the adapted weights."""
    case = IMAGES["maml"]
    learner, theta, one = case.learner, case.theta, data(case.family)

    @eqx.filter_jit
    def both(theta):
        batch = trees.index(one.support, jnp.newaxis)
        fast = learner.adapt(theta, learner.begin(theta, None, None), batch, jax.random.key(0))
        network = fast.policy.convolutions
        x = jax.vmap(theta.normaliser.observation)(one.support.obs)
        return fast.statistics, network.over(x, one.support.valid)[1]

    for ours, expected in zip(*map(jax.tree.leaves, both(theta)), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_the_adapted_weights_statistics_are_kept():
    check_statistics_of_the_support()


def test_a_run_on_images_resumes():
    test_resume.check(IMAGES["protonet"])


def test_networks_over_images_have_defaults_of_their_own():
    config = defaults("maml", Omniglot())
    assert isinstance(config, MAML) and config.hidden == (64, 64, 64, 64) and not config.transductive
    with pytest.raises(AdaptaxError, match="leave transductive out"):
        MAML(transductive=True).build(Sinusoid().spec)
