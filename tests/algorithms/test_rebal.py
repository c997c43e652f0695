"""ReBAL: what its model is told in training is what it was told when it acted."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Steer
from laws.experience import collected
from laws.learners import ALGORITHMS

from adaptax import trees
from adaptax.adaptation.dynamics_model import ModelRow
from adaptax.algorithms.model_based import Seen, in_order
from adaptax.algorithms.rebal import ReBAL
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.training.progress import silent
from adaptax.training.train import train

CASE = ALGORITHMS["rebal"]


def check_readings() -> None:
    """The context after a lifetime of two episodes, by the loss's way and by that of `act`."""
    learner, theta, layout = CASE.learner, CASE.theta, CASE.algorithm.layout
    lives = collected(CASE, layout).rounds
    action, valid = lives.action[:, 0, 0], lives.valid[:, 0, 0]
    changes = ((action[:, 1:] != action[:, :-1]) & valid[:, 1:]).sum(1) * ~valid.all(1)
    assert changes.max() > 0
    rounds = trees.index(lives, int(changes.argmax()))
    assert not rounds.valid.all() and (rounds.first & rounds.valid).sum() > 1
    stream = trees.index(rounds, (0, 0))
    unroll = eqx.filter_jit(learner.unroll)
    _, memory = unroll(theta, None, learner.remember(theta), stream, jax.random.key(0))
    seen = in_order(rounds)
    xs = CASE.algorithm.readings(theta.scales, seen)
    for i in range(learner.members):
        gru = trees.index(theta.adaptation, i)
        contexts = gru.unroll(memory.context[0][i] * 0, xs, seen.valid)
        np.testing.assert_allclose(contexts[-1], memory.context[0][i], rtol=1e-4, atol=1e-5)


def test_training_reads_a_lifetime_as_acting_did():
    check_readings()


def test_without_memory_it_is_one_model_of_all_tasks():
    """Its loss is that of the model alone, whatever came before."""
    algorithm = ReBAL(memory=0, hidden=(4,), horizon=2, candidates=2).build(Steer().spec)
    learner = algorithm.learner
    theta = learner.init(jax.random.key(0))
    x = jnp.linspace(-1.0, 1.0, 6)
    rows = ModelRow(x[:, None], -x[:, None], x[:, None] ** 2, x, jnp.zeros(6), jnp.zeros(6, bool))
    seen = Seen(rows, jnp.arange(6) == 0, jnp.arange(6) < 5)
    network, gru = trees.index((theta.networks, theta.adaptation), 0)
    loss, metrics = algorithm.loss(network, gru, theta.scales, seen, jax.random.key(0))
    np.testing.assert_allclose(
        loss, learner.model.mean_loss(network, theta.scales, rows, seen.valid), rtol=1e-5
    )
    assert metrics["model_error"] == metrics["model_error_before_adaptation"]
    with pytest.raises(AdaptaxError, match="memory must be 0 or more"):
        train(ReBAL(memory=-1), Steer(), 0, report=silent)


def test_a_model_that_remembers_finds_out_which_way_actions_work():
    """By a first step, after which it steers to where it pays; it knows from the beginning of the second episode on."""
    config = ReBAL(
        tasks=16,
        hidden=(32,),
        members=1,
        memory=8,
        gradient_steps=1000,
        lifetimes=64,
        horizon=4,
        candidates=32,
    )
    run = train(config, Steer(), 6, 0, report=silent)
    first, second = evaluate(run, tasks=40, episodes=2).curve().mean((0, 1))
    assert second > Steer.BEST - 2.0  # who does not know goes the wrong way in half of the tasks: -10
    assert first < second - 0.5
