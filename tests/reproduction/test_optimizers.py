"""What optimizers are compared by: episodes to a share of the way, the choice of a step size; and what figures are made of."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.adaptation.update_rules import SGD
from adaptax.algorithms.l2o import L2O
from adaptax.reproduction.gradient_control import PAPER_STREAMS, paper_methods
from adaptax.reproduction.l2o_control import episodes_to_share
from adaptax.reproduction.l2o_optimization import STEPS, loss_curves
from adaptax.reproduction.learned_optimizers import TRIALS, best_step_size, tasks_of, with_rule
from adaptax.tasks.functions import Quadratic
from adaptax.tasks.point_navigation import PointNavigation


def test_episodes_to_nine_tenths_of_the_way_by_hand():
    """From 0 to 10, nine tenths are 9: reached at once, by the policy after two rounds of 5, and never."""
    returns = np.array([[9.0, 0.0, 0.0, 0.0], [0.0, 8.9, 9.5, 3.0], [0.0, 0.0, 0.0, 8.0]])
    taken, reached = episodes_to_share(returns, np.zeros(3), np.full(3, 10.0), streams=5)
    assert taken.tolist() == [0.0, 10.0, 20.0] and reached.tolist() == [True, True, False]


def test_the_way_begins_at_the_random_policys_return():
    """From −20 to 0, nine tenths are −2."""
    taken, _ = episodes_to_share(np.array([[-20.0, -3.0, -1.9]]), np.array([-20.0]), np.zeros(1), streams=1)
    assert taken.tolist() == [2.0]


def test_the_best_step_size_is_found_among_evenly_spread_ones():
    tried = []

    def cost(lr: float) -> float:
        tried.append(lr)
        return abs(math.log10(lr) + 1.0)

    assert abs(math.log10(best_step_size(1e-2, 1.0, cost)) + 1.0) < 0.06
    assert len(tried) == TRIALS and np.allclose(np.diff(np.log(tried)), np.log(100) / (TRIALS - 1))


def test_loss_curves_are_those_of_gradient_descent():
    """f(x) = mean (A x − y)², by hand for some tasks: the queries of a quadratic are its support."""
    family = Quadratic(dimensions=3)
    learner = with_rule(L2O(hidden=()).learner(family.spec, 0), SGD(jnp.array(0.05)))
    tasks, keys = tasks_of(family, "test", 4)
    curves = np.asarray(loss_curves(learner, learner.init(jax.random.key(0)), family, tasks, keys))
    assert curves.shape == (4, STEPS + 1)
    assert (np.diff(curves[:, :30], axis=1) < 0).all()
    again = np.asarray(loss_curves(learner, learner.init(jax.random.key(1)), family, tasks, keys))
    np.testing.assert_array_equal(curves, again)  # the random beginnings are the task's, not the learner's


@pytest.mark.parametrize("method", paper_methods(), ids=lambda m: m.name)
def test_the_papers_methods_meet_rounds_of_the_same_length(method):
    layout = method.config.build(PointNavigation().spec).test_layout(4 * PAPER_STREAMS)
    assert (layout.rounds, layout.streams) == (4, PAPER_STREAMS)
