"""Buffers: what they keep, what they drop, and that one task's rows never land in another's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from adaptax.buffers import Reservoir, RingBuffer, sample_of

CAPACITY = 5
add = jax.jit(RingBuffer.add)


def row(i):
    return {
        "x": jnp.float32(i),
        "pair": jnp.stack([jnp.int32(i), jnp.int32(-i)]),
        "flag": jnp.array(i % 2 == 0),
    }


def rows(numbers):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[row(i) for i in numbers])


def kept(buffer: RingBuffer) -> list[int]:
    """The numbers that count, oldest first."""
    size, start = int(buffer.size), int(buffer.next) - int(buffer.size)
    places = (start + np.arange(size)) % buffer.capacity
    found = jax.tree.map(lambda x: np.asarray(x)[places], buffer.rows)
    np.testing.assert_array_equal(found["pair"], np.stack([found["x"], -found["x"]], -1))
    np.testing.assert_array_equal(found["flag"], found["x"] % 2 == 0)
    return found["x"].astype(int).tolist()


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6))
def test_it_keeps_the_newest_valid_rows(batches):
    """As a list of which the last `CAPACITY` entries are kept."""
    buffer, expected, number = RingBuffer.of(row(0), CAPACITY), [], 1
    for valid in batches:
        numbers = range(number, number + 4)
        number += 4
        buffer = add(buffer, rows(numbers), jnp.array(valid))
        expected = (expected + [i for i, v in zip(numbers, valid, strict=True) if v])[-CAPACITY:]
        assert kept(buffer) == expected


def test_of_more_rows_than_fit_the_last_are_kept():
    buffer = RingBuffer.of(row(0), 3).add(rows([7, 8]), jnp.ones(2, bool))
    valid = jnp.array([True, True, False, True, True, True])
    assert kept(buffer.add(rows(range(1, 7)), valid)) == [4, 5, 6]


def test_rows_are_drawn_uniformly_and_none_that_was_not_added():
    buffer = RingBuffer.of(row(0), 10).add(rows(range(1, 5)), jnp.array([True, True, False, True]))
    drawn = np.asarray(buffer.sample(jax.random.key(0), 3000)["x"]).astype(int)
    counts = np.bincount(drawn, minlength=5)
    assert counts[[0, 3]].sum() == 0 and np.all(np.abs(counts[[1, 2, 4]] - 1000) < 120)


@pytest.mark.parametrize("changed", [0, 2])
def test_a_row_of_one_task_lands_in_no_other_tasks_buffer(changed):
    """Three stacked buffers; rows are added to 2 and 0, in this order. Drawing from one reads no other."""
    buffers = jax.vmap(lambda _: RingBuffer.of(row(0), CAPACITY))(jnp.arange(3))
    members = jnp.array([2, 0])
    two = jax.tree.map(lambda a, b: jnp.stack([a, b]), rows([21, 22]), rows([1, 2]))
    new = jax.vmap(RingBuffer.add)(jax.tree.map(lambda x: x[members], buffers), two, jnp.ones((2, 2), bool))
    buffers = jax.tree.map(lambda all, some: all.at[members].set(some), buffers, new)
    each = [jax.tree.map(lambda x, i=i: x[i], buffers) for i in range(3)]
    assert [kept(buffer) for buffer in each] == [[1, 2], [], [21, 22]]
    key = jax.random.key(3)
    ours = sample_of(buffers, jnp.array(changed), key, 50)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(each[changed].sample(key, 50)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(np.asarray(ours["x"]).tolist()) == set(kept(each[changed]))


# --- reservoirs --------------------------------------------------------------------------------

offer = jax.jit(Reservoir.add)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6), st.integers(0, 99))
def test_a_reservoir_keeps_rows_that_were_offered_each_once(batches, seed):
    """All of them as long as there is room; then always as many as there is room for."""
    reservoir, offered, number = Reservoir.of(row(0), CAPACITY), [], 1
    for i, valid in enumerate(batches):
        numbers = range(number, number + 4)
        number += 4
        reservoir = offer(reservoir, rows(numbers), jnp.array(valid), jax.random.key(100 * seed + i))
        offered += [n for n, v in zip(numbers, valid, strict=True) if v]
        held = np.asarray(reservoir.rows["x"])[: int(reservoir.size)].astype(int).tolist()
        np.testing.assert_array_equal(reservoir.rows["pair"][:, 0], reservoir.rows["x"])
        assert int(reservoir.seen) == len(offered) and len(held) == len(set(held)) == min(
            len(offered), CAPACITY
        )
        assert set(held) <= set(offered)


def check_every_row_is_kept_as_often() -> None:
    """Of 24 rows, offered in calls of 7, 1, 12 and 4, five stay: each in 5/24 of all cases."""
    trials, parts = 4000, (7, 1, 12, 4)

    def kept(key):
        reservoir, start = Reservoir.of(jnp.int32(0), CAPACITY), 0
        for part in parts:
            key, k = jax.random.split(key)
            numbers = jnp.arange(start, start + part + 1)
            reservoir = reservoir.add(numbers, numbers < start + part, k)
            start += part
        return reservoir.rows

    numbers = np.asarray(jax.jit(jax.vmap(kept))(jax.random.split(jax.random.key(0), trials)))
    counts = np.bincount(numbers.ravel(), minlength=sum(parts))
    assert len(counts) == sum(parts) and counts.sum() == trials * CAPACITY
    assert chisquare(counts).pvalue > 1e-3


def test_a_reservoir_keeps_every_row_with_the_same_probability():
    check_every_row_is_kept_as_often()
