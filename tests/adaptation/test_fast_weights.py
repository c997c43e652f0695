"""The example memory, and what goes into it."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax.adaptation.fast_weights import ExampleGenerator, ExampleMemory, TaskGenerator, dealt
from adaptax.networks.layers import Dense


def memory(keys, filled) -> ExampleMemory:
    empty = ExampleMemory.empty(len(keys), 2, (Dense(1, 1, 1.0, jax.random.key(0)),))
    return dataclasses.replace(empty, keys=jnp.array(keys), filled=jnp.array(filled))


def check_attention() -> None:
    """Two orthogonal keys of unlike lengths, and a query along the first: the cosines are 1 and 0."""
    e = math.e
    query, two = jnp.array([2.0, 0.0]), [[3.0, 0.0], [0.0, 0.5]]
    found = memory(two, [True, True]).attention(query, jnp.array(1.0))
    np.testing.assert_allclose(found, [e / (1 + e), 1 / (1 + e)], rtol=1e-5)
    np.testing.assert_allclose(
        memory(two, [True, True]).attention(query, jnp.array(50.0)), [1.0, 0.0], atol=1e-6
    )
    three = [*two, [2.0, 0.0]]
    found = memory(three, [True, True, False]).attention(query, jnp.array(1.0))
    np.testing.assert_allclose(found, [e / (1 + e), 1 / (1 + e), 0.0], rtol=1e-5)
    nothing = memory(three, [False] * 3).attention(query, jnp.array(1.0))
    np.testing.assert_array_equal(nothing, [0.0, 0.0, 0.0])


def test_the_memory_is_read_by_the_cosine_of_keys():
    check_attention()


def test_the_derivative_of_attention_is_finite_where_a_key_or_query_is_zero():
    rows = memory([[0.0, 0.0], [1.0, 0.0]], [True, False])
    slope = jax.grad(lambda q: rows.attention(q, jnp.array(1.0))[0])(jnp.zeros(2))
    assert np.isfinite(slope).all()


def test_examples_are_dealt_to_slots_in_turn():
    x = jnp.arange(10.0).reshape(5, 2)
    found, valid = dealt((x, jnp.ones((5, 2), bool)), 2)
    np.testing.assert_array_equal(found, [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 0, 0]])
    np.testing.assert_array_equal(valid, [[True] * 6, [True] * 4 + [False] * 2])
    found, valid = dealt((x[:1], jnp.ones((1, 2), bool)), 2)
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])
    np.testing.assert_array_equal(valid, [[True] * 2, [False] * 2])


def check_coordinatewise() -> None:
    """Equal gradients of one leaf make equal weights, wherever they stand."""
    like = Dense(3, 2, 1.0, jax.random.key(0))
    g = eqx.tree_at(
        lambda d: (d.weight, d.bias),
        like,
        (jnp.array([[1.0, -2.0, 1.0], [-2.0, 3.0, 1.0]]), jnp.array([1.0, 3.0])),
    )
    task = TaskGenerator(like, 4, jax.random.key(1))
    for weight in (
        ExampleGenerator(like, 4, jax.random.key(1))(g).weight,
        task(task.begin(like), g)[1].weight,
    ):
        assert weight.shape == (2, 3)
        flat = np.round(np.asarray(weight), 6)
        assert len({flat[0, 0], flat[0, 2], flat[1, 2]}) == 1 and flat[0, 1] == flat[1, 0]
        assert len(set(flat.ravel())) == 3


def test_the_generators_read_each_coordinate_by_itself():
    check_coordinatewise()


def test_the_task_generator_remembers_earlier_rounds():
    like = Dense(3, 2, 1.0, jax.random.key(0))
    d = TaskGenerator(like, 4, jax.random.key(1))
    state, first = d(d.begin(like), like)
    _, second = d(state, like)
    assert not np.allclose(first.weight, second.weight, atol=1e-5)
