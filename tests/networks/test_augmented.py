"""Layer augmentation, by hand."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax import trees
from adaptax.networks.augmented import augmented
from adaptax.networks.layers import MLP, Dense


def dense(weight, bias) -> Dense:
    blank = Dense(1, 1, 1.0, jax.random.key(0))
    return eqx.tree_at(lambda d: (d.weight, d.bias), blank, (jnp.array(weight), jnp.array(bias)))


SLOW = (dense([[1.0], [2.0]], [0.0, -1.0]), dense([[1.0, 2.0]], [0.5]))
FAST = (dense([[-1.0], [0.5]], [0.0, 0.0]), dense([[3.0, -1.0]], [0.25]))


def answer(fast, weights) -> float:
    return float(augmented(SLOW, jax.nn.relu, fast, jnp.array(weights), jnp.array([1.0]))[0])


def check_by_hand() -> None:
    """Of x = 1: h = relu(1, 1) + relu(−1, ½) = (1, 1½);  y = (1 + 3 + ½) + (3 − 1½ + ¼)."""
    one = trees.stack([FAST])
    np.testing.assert_allclose(answer(one, [1.0]), 6.25)
    # The last layer alone: h = (1, 1);  y = 3½ + (3 − 1 + ¼).
    np.testing.assert_allclose(answer(one[1:], [1.0]), 5.75)


def test_slow_and_fast_weights_go_through_the_activation_apart():
    check_by_hand()


def test_the_slots_are_added_before_the_activation():
    """½ (3W* + …) + ½ (−W* + …) is W*: not so after a ReLU."""
    two = trees.stack([trees.scale(3.0, FAST), trees.scale(-1.0, FAST)])
    np.testing.assert_allclose(answer(two, [0.5, 0.5]), 6.25)


def test_without_fast_weights_it_is_the_slow_network():
    mlp = MLP(3, (5, 4), 2, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3,))
    fast = jax.tree.map(lambda leaf: jnp.stack([0.0 * leaf, leaf]), mlp.layers)
    for weights in ([1.0, 0.0], [0.0, 0.0]):
        np.testing.assert_array_equal(
            augmented(mlp.layers, mlp.activation, fast, jnp.array(weights), x), mlp(x)
        )
    assert not np.allclose(augmented(mlp.layers, mlp.activation, fast, jnp.array([0.0, 1.0]), x), mlp(x))
