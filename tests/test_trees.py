"""Operations on pytrees, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import trees


def test_what_is_longer_is_scaled_down_to_the_norm_and_zeros_have_a_derivative():
    tree = {"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}
    cut = trees.within(jnp.array(2.0), tree)
    np.testing.assert_allclose([cut["a"][0], cut["b"][0, 0]], [1.2, 1.6], rtol=1e-5)
    kept = trees.within(jnp.array(6.0), tree)
    np.testing.assert_array_equal([kept["a"][0], kept["b"][0, 0]], [3.0, 4.0])
    slope = jax.grad(lambda x: trees.within(jnp.array(1.0), x).sum())(jnp.zeros(2))
    np.testing.assert_array_equal(slope, [1.0, 1.0])
