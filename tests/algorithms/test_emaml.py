"""E-MAML: what the earlier rounds are credited with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from adaptax.algorithms.emaml import credits
from adaptax.types import Step


def rounds_of(returns: jax.Array) -> Step:
    """Rows [B, K, N, 2] of streams with these returns [B, K, N], and a third row that is not valid."""
    reward = jnp.stack([0.25 * returns, 0.75 * returns, jnp.full_like(returns, 1e3)], -1)
    zero = jnp.zeros_like(reward)
    return Step(zero, zero, zero, zero, zero, reward=reward, valid=zero.at[..., :2].set(1.0) > 0)


def check_credits_by_hand() -> None:
    """Three tasks, (round 0 → last round): (1, 3) → 5, (2, 2) → 6, (6, 4) → 12.

    Task 0: the others' means are (2, 6), (5, 12): slope 2, so that y = 6 + 2 (x − 2). Its stream 0 sees stream 1's 3: 8, and
    is credited with 5 − 8; stream 1 sees 1: 5 − 4.
    """
    returns = jnp.array([[[1.0, 3.0], [4.0, 6.0]], [[2.0, 2.0], [6.0, 6.0]], [[6.0, 4.0], [11.0, 13.0]]])
    found = np.asarray(credits(rounds_of(returns)))
    assert found.shape == (3, 1, 2)
    np.testing.assert_allclose(found[0, 0], [-3.0, 1.0], rtol=1e-4)
    # One stream: no other tells of the task, and the mean of the other tasks is left.
    alone = credits(rounds_of(returns[:, :, :1]))
    np.testing.assert_allclose(alone[:, 0, 0], [4 - 8.5, 6 - 7.5, 11 - 5.0], rtol=1e-4)
    # One task: no baseline at all.
    np.testing.assert_allclose(credits(rounds_of(returns[:1])), jnp.full((1, 1, 2), 5.0), rtol=1e-4)


def test_credits_by_hand():
    check_credits_by_hand()


def check_independence() -> None:
    """What a baseline is unbiased for: R − credit of a stream does not know that stream, nor its task's last round."""
    returns = jax.random.normal(jax.random.key(0), (5, 3, 4))

    def baseline(returns):
        return returns[:, -1].mean(-1)[:, None, None] - credits(rounds_of(returns))

    jacobian = np.asarray(jax.jacobian(baseline)(returns))  # [B, K−1, N | B, K, N]
    for i in range(5):
        np.testing.assert_allclose(jacobian[i, :, :, i, -1], 0.0, atol=1e-4)
        for k in range(2):
            np.testing.assert_allclose(jacobian[i, k, :, i, 1 - k], 0.0, atol=1e-4)
            for n in range(4):
                np.testing.assert_allclose(jacobian[i, k, n, i, k, n], 0.0, atol=1e-4)
                assert np.abs(np.delete(jacobian[i, k, n, i, k], n)).max() > 1e-3
    assert np.abs(jacobian[0, :, :, 1]).max() > 1e-3


def test_a_baseline_does_not_know_what_it_judges():
    check_independence()
