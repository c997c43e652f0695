"""ReBAL: what its model is told in training is what it was told when it acted."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
from laws.experience import collected
from laws.learners import ALGORITHMS

from adaptax import trees
from adaptax.algorithms.model_based import in_order

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
