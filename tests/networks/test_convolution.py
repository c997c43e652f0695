"""Convolutions against XLA's own, and statistics by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.networks.convolution import EPS, Batch, ConvBlock, ConvNet, halved, patches, statistics_of


def check_patches() -> None:
    """The same as a convolution with zeros beyond the border, for sizes that the stride divides and others."""
    for (height, width), stride, k in (((5, 6), 2, 3), ((4, 7), 1, 5), ((1, 2), 2, 3)):
        k1, k2 = jax.random.split(jax.random.key(height))
        x, kernel = jax.random.normal(k1, (height, width, 2)), jax.random.normal(k2, (k, k, 2, 4))
        expected = jax.lax.conv_general_dilated(
            x[None],
            kernel,
            (stride, stride),
            ((k // 2,) * 2,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )[0]
        found = patches(x, stride, k) @ kernel.reshape(2 * k**2, 4)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_patches_times_weights_are_a_convolution():
    check_patches()


def test_maxima_over_blocks():
    x = jnp.arange(15.0).reshape(3, 5, 1)
    np.testing.assert_array_equal(halved(x)[..., 0], [[6.0, 8.0]])
    np.testing.assert_array_equal(halved(x[:1])[..., 0], [[1.0, 3.0]])


def check_statistics() -> None:
    """Over the positions of all examples, without those that only fill up."""
    y, valid = jax.random.normal(jax.random.key(0), (4, 2, 3, 5)), jnp.array([True, True, False, True])
    one = lambda y, valid: statistics_of(y, Batch("some", valid))  # noqa: E731
    found = jax.vmap(one, axis_name="some", out_axes=None)(y, valid)
    counted = np.asarray(y)[[0, 1, 3]].reshape(-1, 5)
    np.testing.assert_allclose(found.mean, counted.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.variance, counted.var(0), rtol=1e-4, atol=1e-5)


def test_statistics_are_those_of_the_examples_that_count():
    check_statistics()


@pytest.mark.parametrize("max_pool", [False, True])
def test_a_block_by_hand(max_pool):
    """One channel, whose kernel is 1 in the middle and 0 elsewhere."""
    block = ConvBlock(1, 1, max_pool, jax.random.key(0))
    object.__setattr__(block, "weight", jnp.zeros((9, 1)).at[4].set(1.0))
    object.__setattr__(block, "scale", jnp.array([2.0]))
    object.__setattr__(block, "shift", jnp.array([0.5]))
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]])[..., None]
    one = lambda x: block(x, jax.nn.relu, Batch("some"))  # noqa: E731
    [y], statistics = jax.vmap(one, axis_name="some", out_axes=(0, None))(x[jnp.newaxis])
    seen = np.array([1.0, 2.0, 3.0, 6.0]) if max_pool else np.array([1.0])
    z = (seen - seen.mean()) / np.sqrt(seen.var() + EPS)
    np.testing.assert_allclose(y, [[[max(0.0, 2.0 * z.max() + 0.5)]]], rtol=1e-4)
    np.testing.assert_allclose(statistics.mean, [seen.mean()])


def test_given_statistics_give_what_the_batch_gave():
    net = ConvNet((5, 5, 1), (3, 4), jax.random.key(0))
    x, valid = jax.random.normal(jax.random.key(1), (6, 25)), jnp.ones(6, bool)
    features, statistics = net.over(x, valid)
    again, _ = jax.vmap(lambda x: net(x, statistics))(x)
    assert features.shape == (6, net.features) == (6, 4)
    np.testing.assert_allclose(features, again, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_pool", [False, True])
def test_connections_and_layer_normalisation_of_images(max_pool):
    """What is handed on holds the image itself, halved; an image is normalised alone, whoever stands beside it."""
    x = jax.random.normal(jax.random.key(1), (2, 5 * 5))
    make = lambda **options: ConvNet((5, 5, 1), (3, 4), jax.random.key(0), max_pool=max_pool, **options)  # noqa: E731
    dense = make(connections="dense", normalization="layer", kernel=5)
    features, _ = dense.over(x, jnp.ones(2, bool))
    assert features.shape == (2, dense.features) == (2, 8)
    image = x[0].reshape(5, 5, 1)
    seen = halved(halved(image)) if max_pool else image[::4, ::4]
    np.testing.assert_allclose(features[0, :1], seen.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dense(x[0], dense.unread())[0], features[0], rtol=1e-4, atol=1e-5)
    assert make(connections="residual", normalization="none").over(x, jnp.ones(2, bool))[0].shape == (2, 4)
