"""ReBAL without its memory: what it is told at each step is what it would be told at a lifetime's first."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import keys
from adaptax.algorithms.rebal import ReBAL
from adaptax.collection.collect import collect_task
from adaptax.reproduction.model_based import forgetful
from adaptax.tasks.pendulum import Pendulum
from adaptax.training.progress import silent
from adaptax.training.train import train
from adaptax.types import Layout

FAMILY = Pendulum(horizon=4)


def test_it_is_told_what_a_first_step_tells():
    config = ReBAL(hidden=(4,), memory=3, horizon=2, candidates=2)
    run = train(config, FAMILY, 0, report=silent)
    other, theta, key = forgetful(run).algorithm.learner, run.state.theta, jax.random.key(0)
    assert type(run.algorithm.learner) is not type(other)
    task = FAMILY.sample(key, "train")
    rounds, _, _ = collect_task(
        other, FAMILY, theta, other.begin(theta, keys.begin(key), None), task, Layout(1, 1, 4, 1), key, False
    )
    late = jax.tree.map(lambda x: x[0, 0, 3], rounds)
    context = other.new_context(theta)
    context = jax.tree.map(lambda x: x + 1.0, context)  # something was seen
    _, told, _ = other.known(theta, None, context, late)
    first = dataclasses.replace(late, first=jnp.array(True), episode=jnp.array(0))
    _, expected, _ = run.algorithm.learner.known(theta, None, other.new_context(theta), first)
    _, remembered, _ = run.algorithm.learner.known(theta, None, context, late)
    np.testing.assert_array_equal(told, expected)
    assert not np.allclose(told, remembered)
