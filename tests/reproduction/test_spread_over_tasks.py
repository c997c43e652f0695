"""The spread over tasks, and its interval."""

from __future__ import annotations

import numpy as np

from adaptax.reproduction.robust_objective import spread, spread_interval


def test_the_spread_is_over_tasks_and_not_over_seeds():
    """Two seeds on two tasks: deviations √2 and 0; the seeds' own levels do not count."""
    assert abs(spread(np.array([[0.0, 2.0], [100.0, 100.0]])) - np.sqrt(2) / 2) < 1e-12


def test_the_interval_sees_a_difference_and_no_difference():
    rng = np.random.default_rng(0)
    tasks = rng.normal(size=(1, 300))
    wide = 2.0 * tasks + 0.1 * rng.normal(size=(5, 300))
    narrow = tasks + 0.1 * rng.normal(size=(5, 300))
    low, high = spread_interval(wide, narrow, 300)
    assert 0.7 < low < 1.0 < high < 1.3
    low, high = spread_interval(narrow, narrow + 0.01 * rng.normal(size=(5, 300)), 300)
    assert low < 0.0 < high
