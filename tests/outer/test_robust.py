"""Weights of tasks in the outer objective."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptax.outer.robust import task_weights

SCORES = [3.0, -1.0, 10.0, 0.0]  # worst first: tasks 1, 3, 0, 2


def check_by_hand() -> None:
    """Four tasks: the worst half is tasks 1 and 3; of the worst 3/8, task 3 counts for half; less than a task is one task."""
    for objective, share, weights in [
        ("mean", 0.25, [1.0, 1.0, 1.0, 1.0]),
        ("worst", 0.25, [0.0, 4.0, 0.0, 0.0]),
        ("cvar", 0.5, [0.0, 2.0, 0.0, 2.0]),
        ("cvar", 0.375, [0.0, 8 / 3, 0.0, 4 / 3]),
        ("cvar", 0.01, [0.0, 4.0, 0.0, 0.0]),
        ("cvar", 1.0, [1.0, 1.0, 1.0, 1.0]),
    ]:
        found = task_weights(jnp.array(SCORES), objective, share)
        np.testing.assert_allclose(found, weights, atol=1e-6, err_msg=f"{objective} {share}")


def test_weights_by_hand():
    check_by_hand()


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=12),
    st.floats(0.0, 1.0, width=32),
    st.sampled_from(["mean", "cvar", "worst"]),
)
def test_weights_are_of_an_average_over_the_worst(scores, share, objective):
    """Mean 1, none below 0, and never more for a better task."""
    weights = np.asarray(task_weights(jnp.array(scores, jnp.float32), objective, share))
    assert abs(weights.mean() - 1.0) < 1e-4 and (weights > -1e-6).all()
    ordered = weights[np.argsort(scores, kind="stable")]
    assert (np.diff(ordered) < 1e-5).all()


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_the_weighted_mean_is_the_tail_s(share):
    """CVaR of scores (0, 1, …, 9): the mean over the worst share of them, by integrating the quantile function."""
    scores = jnp.arange(10.0)[::-1]
    found = float((task_weights(scores, "cvar", share) * scores).mean())
    quantiles = np.floor(np.linspace(0.0, share, 200_001)[:-1] * 10)
    assert abs(found - quantiles.mean()) < 1e-3
