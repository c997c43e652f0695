"""The noise of meta-gradients: its measure, and the interval of a ratio."""

from __future__ import annotations

import math

import numpy as np

from adaptax.reproduction.variance import jackknife_interval, relative_deviation


def draws(n: int, mean: float, deviation: float, seed: int) -> np.ndarray:
    """n gradients of four parameters whose relative deviation is deviation/mean."""
    return mean + deviation * np.random.default_rng(seed).normal(size=(n, 4))


def test_relative_deviation_by_hand():
    """Two batches, (3, 0) and (5, 0): variance 2, mean² 16 − 2/2 = 15."""
    assert math.isclose(relative_deviation(np.array([[3.0, 0.0], [5.0, 0.0]])), math.sqrt(2 / 15))


def test_relative_deviation_is_not_that_of_a_noisy_mean():
    """At a relative deviation of 10, 100 batches: ‖mean‖² as it comes out is twice too large."""
    found = [relative_deviation(draws(100, 1.0, 10.0, seed)) for seed in range(400)]
    assert 8.5 < np.median(found) < 11.5


def test_an_interval_holds_the_ratio_and_sees_a_difference():
    held = 0
    for seed in range(100):
        base, other = draws(100, 1.0, 1.0, seed), draws(100, 1.0, 2.0, seed + 1000)
        low, high = jackknife_interval(base, other)
        held += low < 2.0 < high
        assert low > 1.0
    assert 85 <= held <= 100
