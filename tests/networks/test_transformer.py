"""The causal Transformer: attention by hand, rotations, the ring of its cache, causality."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.algorithms.transformer import Transformer as TransformerConfig
from adaptax.errors import AdaptaxError
from adaptax.networks.attention import attend
from adaptax.networks.transformer import Transformer, positions_in_slots, rotated
from adaptax.tasks.bandits import BernoulliBandit

WIDTH, CONTEXT, ROWS = 8, 5, 12
NET = Transformer(WIDTH, layers=2, heads=2, context=CONTEXT, key=jax.random.key(0))
XS = jax.random.normal(jax.random.key(1), (ROWS, WIDTH))
ALL = jnp.ones(ROWS, bool)

unroll = eqx.filter_jit(lambda net, xs, valid: net.unroll(net.empty(), xs, valid)[0])


def test_attention_by_hand():
    """Two keys, of which the query meets one: weights e¹/(e¹ + e⁰) and the rest, d = 1."""
    q, keys, values = jnp.ones((1, 1, 1)), jnp.array([[[1.0], [0.0]]]), jnp.array([[[3.0], [5.0]]])
    p = np.exp(1) / (np.exp(1) + 1)
    np.testing.assert_allclose(
        attend(q, keys, values, jnp.array([[True, True]])), [[[3 * p + 5 * (1 - p)]]], rtol=1e-5
    )
    np.testing.assert_allclose(attend(q, keys, values, jnp.array([[False, True]])), [[[5.0]]], rtol=1e-5)
    # Scores are divided by √d: with d = 4 and q·k = 4 that is 2.
    q, keys = jnp.ones((1, 1, 4)), jnp.stack([jnp.ones((4,)), jnp.zeros((4,))])[None]
    p = np.exp(2) / (np.exp(2) + 1)
    read = attend(q, keys, jnp.ones((1, 2, 4)) * jnp.array([3.0, 5.0])[None, :, None], jnp.ones((1, 2), bool))
    np.testing.assert_allclose(read, np.full((1, 1, 4), 3 * p + 5 * (1 - p)), rtol=1e-5)


def test_a_rotation_by_hand():
    """The first pair of a head turns by the position in radians, the second of two by a hundredth of it."""
    x = jnp.array([[1.0, 1.0, 0.0, 0.0]])
    expected = [[np.cos(3), np.cos(0.03), np.sin(3), np.sin(0.03)]]
    np.testing.assert_allclose(rotated(x, jnp.int32(3)), expected, rtol=1e-5)


def test_products_depend_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(2), (2, 1, WIDTH))
    product = lambda i, j: (rotated(q, jnp.int32(i)) * rotated(k, jnp.int32(j))).sum()  # noqa: E731
    np.testing.assert_allclose(product(7, 4), product(103, 100), rtol=1e-4)
    assert abs(product(7, 4) - product(7, 5)) > 1e-3


def test_the_ring_by_hand():
    np.testing.assert_array_equal(positions_in_slots(jnp.int32(0), 3), [-3, -2, -1])
    np.testing.assert_array_equal(positions_in_slots(jnp.int32(2), 3), [0, 1, -1])
    np.testing.assert_array_equal(positions_in_slots(jnp.int32(3), 3), [0, 1, 2])
    np.testing.assert_array_equal(positions_in_slots(jnp.int32(5), 3), [3, 4, 2])


@pytest.mark.parametrize("changed", [0, 4, 11])
def test_a_row_changes_what_follows_and_nothing_before(changed):
    """Exactly: and with two layers it reaches no further than twice the context."""
    before = np.asarray(unroll(NET, XS, ALL))
    after = np.asarray(unroll(NET, XS.at[changed].add(1.0), ALL))
    moved = np.any(before != after, axis=1)
    reach = changed + 2 * (CONTEXT - 1)
    assert moved[changed : reach + 1].all() and not moved[:changed].any() and not moved[reach + 1 :].any()


def test_rows_that_are_not_valid_are_not_read():
    valid = ALL.at[jnp.array([0, 3, 4, 11])].set(False)
    said = np.asarray(unroll(NET, XS, valid))[np.asarray(valid)]
    np.testing.assert_allclose(said, unroll(NET, XS[valid], ALL[: len(said)]), rtol=1e-4, atol=1e-5)


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(AdaptaxError, match="width of 20 cannot be divided into 4 heads"):
        TransformerConfig(width=20, heads=4).build(BernoulliBandit().spec)
