"""What is measured in lifetimes on unseen tasks: of each seed's own, those that are evaluated."""

from __future__ import annotations

import numpy as np
from families import Corridor

from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.evaluation.evaluate import evaluate
from adaptax.reproduction.lifetimes import on_unseen_tasks
from adaptax.training.progress import silent
from adaptax.training.train import train
from adaptax.types import Layout


def test_the_lifetimes_are_those_of_the_evaluator():
    family, layout = Corridor(), Layout(2, 1, 4, episodes=1)
    runs = [train(RandomPolicy(), family, 0, seed, report=silent) for seed in (3, 4)]

    def measure(learner, theta, rounds, fast):
        assert fast is None and theta is None
        return (rounds.reward * rounds.valid).sum((1, 2)), rounds.valid.sum()

    returns, steps = on_unseen_tasks(measure, runs, family, layout, 6)
    expected = evaluate(runs, "test", 6, layout=layout)
    assert returns.shape == (2, 6, 2) and steps.shape == (2, 6)
    np.testing.assert_allclose(returns, expected.returns[:, :, :, 0, 0], rtol=1e-5)
    np.testing.assert_array_equal(steps, expected.lengths.sum((2, 3, 4)))
    assert (returns[0] != returns[1]).any()
