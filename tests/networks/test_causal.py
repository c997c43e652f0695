"""Blocks that look back over a stream, against sums by hand and an implementation in numpy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.networks.causal import Attention, CausalStack, TemporalConvolution

START = jnp.int32(0)


def moved(block):
    """The block with its biases, which are 0 at first, away from there."""
    leaves, treedef = jax.tree.flatten(block)
    return jax.tree.unflatten(treedef, [x + 0.05 * (1 + i) for i, x in enumerate(leaves)])


def check_convolution_by_hand() -> None:
    """One dense block with one filter: f = 2 x_{t−1} + x_t, g = x_{t−1} − x_t + ½."""
    block = TemporalConvolution(1, 1, 2, jax.random.key(0))
    block = eqx.tree_at(
        lambda b: (b.weights, b.biases),
        block,
        ((jnp.array([[2.0], [1.0], [1.0], [-1.0]]),), jnp.array([[0.0, 0.5]])),
    )
    xs = jnp.array([[1.0], [-0.5], [0.25]])
    out, _ = block.unroll(block.empty(), START, xs, jnp.int32(3))
    f, g = np.array([1.0, 1.5, -0.75]), np.array([-0.5, 2.0, -0.25])
    expected = np.stack([xs[:, 0], np.tanh(f) / (1 + np.exp(-g))], axis=1)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_a_convolution_by_hand():
    check_convolution_by_hand()


def numpy_convolution(block, xs):
    """All dense blocks, row by row, in float64."""
    xs = [np.asarray(x, np.float64) for x in xs]
    for i, (weight, bias) in enumerate(zip(block.weights, block.biases, strict=True)):
        A, B = np.split(np.asarray(weight, np.float64), 2)
        out = []
        for t, x in enumerate(xs):
            before = xs[t - 2**i] if t >= 2**i else np.zeros_like(x)
            f, g = np.split(A @ before + B @ x + np.asarray(bias), 2)
            out.append(np.concatenate([x, np.tanh(f) / (1 + np.exp(-g))]))
        xs = out
    return np.stack(xs)


def test_dilations_double_and_inputs_widen():
    block = moved(TemporalConvolution(3, 2, 7, jax.random.key(1)))
    assert len(block.weights) == 3 and block.n_out == 9 and block.empty().shape == (7, 4)
    xs = jax.random.normal(jax.random.key(2), (9, 3))
    out, _ = block.unroll(block.empty(), START, xs, jnp.int32(9))
    np.testing.assert_allclose(out, numpy_convolution(block, xs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8])
def test_a_convolution_sees_just_as_many_rows_as_its_blocks_can(rows):
    """The last row depends on exactly the newest 2ⁿ ≥ T."""
    block = moved(TemporalConvolution(2, 2, rows, jax.random.key(3)))
    sight = 2 ** len(block.weights)
    assert sight >= rows > sight // 2 or rows <= 2
    xs = jax.random.normal(jax.random.key(4), (20, 2))
    last = lambda xs: jnp.sin(block.unroll(block.empty(), START, xs, jnp.int32(20))[0][-1]).sum()  # noqa: E731
    felt = np.asarray(jnp.abs(jax.grad(last)(xs)).sum(1)) > 0
    assert felt[-sight:].all() and not felt[:-sight].any()


def check_attention_by_hand() -> None:
    """Queries and keys of one number, values the inputs: weights of e^{q k} on three rows, and on two with room for two."""
    for rows, far in ((3, 0), (2, 1)):
        block = Attention(1, 1, 1, rows, jax.random.key(0))
        weight = jnp.array([[2.0], [0.5], [1.0]])
        block = eqx.tree_at(lambda b: b.projection.weight, block, weight)
        xs = np.array([0.3, -1.0, 0.7])
        out, _ = block.unroll(block.empty(), START, jnp.float32(xs)[:, None], jnp.int32(3))
        for t in range(3):
            seen = xs[far * max(0, t - 1) : t + 1]
            e = np.exp(2.0 * xs[t] * 0.5 * seen)
            np.testing.assert_allclose(out[t], [xs[t], (e * seen).sum() / e.sum()], rtol=1e-5)


def test_attention_by_hand():
    check_attention_by_hand()


def stack() -> CausalStack:
    keys = jax.random.split(jax.random.key(5), 3)
    convolution = TemporalConvolution(2, 2, 6, keys[0])
    attention = Attention(convolution.n_out, 3, 2, 6, keys[1])
    return moved(CausalStack((convolution, attention, TemporalConvolution(attention.n_out, 2, 6, keys[2]))))


def test_no_row_sees_a_later_one():
    """Exactly: the same bits come out of all rows before the one that is changed."""
    made, xs = stack(), jax.random.normal(jax.random.key(6), (10, 2))
    said = jax.jit(lambda xs: made.unroll(made.empty(), xs, jnp.int32(10))[0])
    before, after = np.asarray(said(xs)), np.asarray(said(xs.at[6].add(5.0)))
    np.testing.assert_array_equal(after[:6], before[:6])
    assert (after[6:] != before[6:]).any(1).all()


def check_rings() -> None:
    """A stream of 20 rows, in steps and in parts of every kind: the same is said, and the same is remembered of it.

    Both are longer than the rings, rows that are not valid stand between the steps, and parts end in such rows.
    """
    made, xs = stack(), jax.random.normal(jax.random.key(7), (20, 2))
    step = jax.jit(lambda m, x, valid: made.step(m, x, valid))
    unroll = jax.jit(lambda m, xs, count: made.unroll(m, xs, count))
    stepped, memory = [], made.empty()
    for x in xs:
        _, memory = step(memory, 9.0 - x, jnp.array(False))
        said, memory = step(memory, x, jnp.array(True))
        stepped.append(said)
    for parts in ((20,), (6, 14), (1, 2, 9, 5, 3)):
        again, unrolled, start = made.empty(), [], 0
        for size in parts:
            part = jnp.concatenate([xs[start : start + size], 9.0 + jnp.ones((2, 2))])
            said, again = unroll(again, part, jnp.int32(size))
            unrolled.append(said[:size])
            start += size
        np.testing.assert_allclose(jnp.concatenate(unrolled), jnp.stack(stepped), rtol=1e-4, atol=1e-5)
        for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(memory), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_rings_that_overflow_forget_the_oldest_rows_on_both_paths():
    check_rings()
    made = Attention(2, 3, 2, 4, jax.random.key(8))
    xs = jax.random.normal(jax.random.key(9), (12, 2))
    last = lambda xs: made.unroll(made.empty(), START, xs, jnp.int32(12))[0][-1, 2:].sum()  # noqa: E731
    felt = np.asarray(jnp.abs(jax.grad(last)(xs)).sum(1)) > 0
    assert felt.tolist() == [False] * 8 + [True] * 4
