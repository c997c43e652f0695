"""Returns and advantages, by numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.estimators.returns import discounts, gae, returns_to_go, standardise, valid_mean
from adaptax.types import Step


def vector(*numbers: float) -> jax.Array:
    return jnp.array(numbers, jnp.float32)


def rows(terminated=(), truncated=(), valid=None, length=4) -> Step:
    """Rows [T] that end in the given places."""
    at = lambda places: jnp.zeros(length, bool).at[jnp.array(places, int)].set(True)  # noqa: E731
    zero = jnp.zeros(length)
    return Step(
        zero, zero, zero, first=zero, episode=zero, terminated=at(terminated), truncated=at(truncated),
        valid=jnp.ones(length, bool) if valid is None else at(valid),
    )  # fmt: skip


def test_what_weighs_the_rest_of_an_episode():
    steps = rows(terminated=[1], truncated=[2], valid=[0, 1, 2])
    np.testing.assert_allclose(discounts(steps, 0.9, "episode"), [0.9, 0, 0, 0])
    np.testing.assert_allclose(discounts(steps, 0.9, "lifetime"), [0.9, 0.9, 0.9, 0])


def test_returns_to_go():
    # 3; 2 + ½·3; 1 + 0·…
    np.testing.assert_allclose(returns_to_go(vector(1, 2, 3), vector(0, 0.5, 0.7)), [1, 3.5, 3])


def test_advantages_beside_a_border():
    """Rows 0 and 1 are an episode that terminates, rows 2 and 3 begin one that goes on; γ = 0.99, λ = 0.95.

    With the previous row's end in place of the row's own they would be 5.6, 5.95, −100, −1.
    """
    γ, λ = 0.99, 0.95
    reward, value, next_value = vector(0, 1, 0, 0), vector(0, 0, 100, 100), vector(0, 0, 100, 100)
    advantage = gae(reward, value, next_value, discounts(rows(terminated=[1]), γ, "episode"), γ, λ)
    np.testing.assert_allclose(advantage, [γ * λ, 1.0, -1.0 - γ * λ, -1.0], rtol=1e-4)


def test_a_truncated_row_counts_what_it_cut_off():
    """γ = ½, λ = 1: A₁ = 1 + ½·6 − 2 = 2, A₀ = 1 + ½·2 − 4 + ½·2 = −1; row 2 stands alone."""
    steps = rows(truncated=[1], length=3)
    advantage = gae(
        vector(1, 1, 5), vector(4, 2, 1), vector(2, 6, 0), discounts(steps, 0.5, "episode"), 0.5, 1.0
    )
    np.testing.assert_allclose(advantage, [-1, 2, 4])


def test_a_lifetime_passes_borders():
    """The same rows, one horizon: A₂ = 4, A₁ = 1 + ½·1 − 2 + ½·4 = 1.5, A₀ = 1 + ½·2 − 4 + ½·1.5 = −1.25."""
    steps = rows(truncated=[1], length=3)
    advantage = gae(
        vector(1, 1, 5), vector(4, 2, 1), vector(2, 1, 0), discounts(steps, 0.5, "lifetime"), 0.5, 1.0
    )
    np.testing.assert_allclose(advantage, [-1.25, 1.5, 4])


def test_standardise_by_hand():
    """1 and 3 have mean 2 and deviation 1; the invalid entry counts for nothing."""
    x, valid = vector(1, 3, 100), jnp.array([True, True, False])
    np.testing.assert_allclose(standardise(x, valid), [-1, 1, 0], atol=1e-6)
    assert float(valid_mean(x, valid)) == 2.0


@pytest.mark.parametrize("valid", [[True, True], [False, False]])
def test_constant_or_empty_batches_stay_finite(valid):
    x, mask = vector(5, 5), jnp.array(valid)
    np.testing.assert_array_equal(standardise(x, mask), [0, 0])
    assert np.isfinite(valid_mean(x, mask))
