"""Layers against independent implementations in numpy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.networks.layers import CELLS, GRU, LSTM, MLP, Dense, MinimalGatedUnit
from adaptax.networks.policy import Policy
from adaptax.types import Box, Discrete

N_IN, HIDDEN, T = 3, 5, 6


@pytest.fixture(scope="module")
def gru() -> GRU:
    """With a bias, which is 0 at first."""
    made = jax.jit(lambda key: GRU(N_IN, HIDDEN, key))(jax.random.key(0))
    leaves, treedef = jax.tree.flatten(made)
    return jax.tree.unflatten(treedef, [x + 0.1 * (1 + i) for i, x in enumerate(leaves)])


def numpy_gru(gru: GRU, h, x):
    """cuDNN's equations, gate by gate, in float64."""
    sigmoid = lambda a: 1.0 / (1.0 + np.exp(-a))  # noqa: E731
    as64 = lambda a: np.asarray(a, np.float64)  # noqa: E731
    W, b_W, U, b = (as64(a) for a in (gru.input.weight, gru.input.bias, gru.recurrent, gru.bias))
    (W_r, W_z, W_n), (U_r, U_z, U_n) = np.split(W, 3), np.split(U, 3)
    b_r, b_z, b_n = np.split(b_W, 3)
    r, z = sigmoid(W_r @ x + b_r + U_r @ h), sigmoid(W_z @ x + b_z + U_z @ h)
    n = np.tanh(W_n @ x + b_n + r * (U_n @ h + b))
    return (1.0 - z) * n + z * h


def data():
    rng = np.random.default_rng(0)
    h, xs = rng.normal(size=HIDDEN), rng.normal(size=(T, N_IN))
    keep = np.array([True, False, True, True, False, True])
    return h, xs, keep


def test_gru_is_the_equations(gru):
    h, xs, keep = data()
    got = jax.jit(lambda h, xs: gru.unroll(h, xs, jnp.asarray(keep)))(jnp.float32(h), jnp.float32(xs))
    cell = jax.jit(lambda h, x: gru(h, x))
    for t in range(T):
        if keep[t]:
            np.testing.assert_allclose(
                cell(jnp.float32(h), jnp.float32(xs[t])), numpy_gru(gru, h, xs[t]), atol=1e-5
            )
            h = numpy_gru(gru, h, xs[t])
        np.testing.assert_allclose(got[t], h, atol=1e-5)


def test_gru_gradients_are_finite_differences(gru):
    """Central differences of the numpy implementation, in float64."""
    h, xs, keep = data()
    leaves, treedef = jax.tree.flatten(gru)
    inputs = [*leaves, jnp.float32(h), jnp.float32(xs)]

    def loss(inputs):
        *leaves, h, xs = inputs
        hs = jax.tree.unflatten(treedef, leaves).unroll(h, xs, jnp.asarray(keep))
        return jnp.sum(jnp.sin(hs))

    def numpy_loss(inputs):
        *leaves, h, xs = inputs
        moved, total = jax.tree.unflatten(treedef, leaves), 0.0
        for t in range(T):
            h = numpy_gru(moved, h, xs[t]) if keep[t] else h
            total += np.sin(h).sum()
        return total

    gradients = jax.jit(jax.grad(loss))(inputs)
    numbers = [np.asarray(x, np.float64) for x in inputs]
    rng, ε = np.random.default_rng(1), 1e-6
    for which, gradient in enumerate(gradients):
        for _ in range(6):
            at = tuple(rng.integers(0, n) for n in numbers[which].shape)
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in numbers]
                moved[which][at] += sign * ε
                sides.append(numpy_loss(moved))
            np.testing.assert_allclose(gradient[at], (sides[0] - sides[1]) / (2 * ε), rtol=1e-3, atol=1e-4)
    # Rows that are not kept have no say.
    assert (np.asarray(gradients[-1])[~keep] == 0.0).all()


def test_dense_layers_begin_orthogonal():
    layer = jax.jit(lambda key: Dense(4, 3, 2.0, key))(jax.random.key(0))
    np.testing.assert_allclose(layer.weight @ layer.weight.T, 4.0 * np.eye(3), atol=1e-5)
    np.testing.assert_array_equal(layer(jnp.zeros(4)), np.zeros(3))


def test_mlp_is_the_equations():
    mlp = jax.jit(lambda key: MLP(2, (4, 3), 2, key))(jax.random.key(1))
    x = np.array([0.5, -1.0])
    y = x
    for i, layer in enumerate(mlp.layers):
        y = np.asarray(layer.weight, np.float64) @ y + np.asarray(layer.bias)
        y = np.tanh(y) if i < 2 else y
    np.testing.assert_allclose(mlp(jnp.float32(x)), y, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_a_policy_begins_near_uniform(hidden):
    p = Policy(3, hidden, Discrete(4), jax.random.key(2))(jnp.array([1.0, -2.0, 0.5]))
    np.testing.assert_allclose(jax.nn.softmax(p.logits), 0.25, atol=0.02)


def test_the_deviation_is_bounded_below():
    policy = Policy(3, (), Box((-1.0,), (1.0,)), jax.random.key(2))
    narrow = eqx.tree_at(lambda p: p.log_std, policy, jnp.array([-50.0]))
    assert float(narrow(jnp.zeros(3)).log_std[0]) == -3.0


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_at_once_is_the_cell_step_by_step(cell):
    """A state passes unchanged through steps that do not count; its own weights reach what is read."""
    _, xs, keep = data()
    made = jax.jit(lambda key: CELLS[cell](N_IN, HIDDEN, key))(jax.random.key(0))
    state = jax.random.normal(jax.random.key(1), (made.state_size,))
    states = jax.jit(lambda s, xs: made.unroll(s, xs, jnp.asarray(keep)))(state, jnp.float32(xs))
    for t in range(T):
        state = made(state, jnp.float32(xs[t])) if keep[t] else state
        np.testing.assert_allclose(states[t], state, atol=1e-5)
    assert made.read(state).shape == (HIDDEN,)


def test_lstm_and_minimal_gated_unit_are_the_equations():
    h, xs, _ = data()
    sigmoid = lambda a: 1.0 / (1.0 + np.exp(-a))  # noqa: E731
    lstm = LSTM(N_IN, HIDDEN, jax.random.key(0))
    i, f, o, g = np.split(np.asarray(lstm.input.weight) @ xs[0] + np.asarray(lstm.recurrent) @ h, 4)
    c = sigmoid(f + 1.0) * xs[1, 0] + sigmoid(i) * np.tanh(g)
    found = lstm(jnp.float32(np.concatenate([h, np.full(HIDDEN, xs[1, 0])])), jnp.float32(xs[0]))
    np.testing.assert_allclose(found, np.concatenate([sigmoid(o) * np.tanh(c), c]), atol=1e-5)

    unit = MinimalGatedUnit(N_IN, HIDDEN, jax.random.key(0))
    (f_x, n_x), (f_h, n_h) = (
        np.split(np.asarray(unit.input.weight) @ xs[0], 2),
        np.split(unit.recurrent @ h, 2),
    )
    f = sigmoid(f_x + np.asarray(f_h))
    n = np.tanh(n_x + f * np.asarray(n_h))
    np.testing.assert_allclose(unit(jnp.float32(h), jnp.float32(xs[0])), (1 - f) * h + f * n, atol=1e-5)


@pytest.mark.parametrize("connections", ["residual", "dense"])
def test_connections_by_hand(connections):
    """2 → 3 → 1 → 1, of which the second layer is narrower than the first."""
    x = np.array([1.0, -2.0], np.float32)
    mlp = MLP(2, (3, 1), 1, jax.random.key(0), jax.nn.relu, last_gain=1.0, connections=connections)
    W1, W2, W3 = (np.asarray(layer.weight) for layer in mlp.layers)
    h1 = np.maximum(W1 @ x, 0)
    x1 = np.concatenate([x, h1]) if connections == "dense" else h1 + np.array([1.0, -2.0, 0.0])
    h2 = np.maximum(W2 @ x1, 0)
    x2 = np.concatenate([x1, h2]) if connections == "dense" else h2 + x1[:1]
    np.testing.assert_allclose(mlp(jnp.asarray(x)), W3 @ x2, rtol=1e-4, atol=1e-5)


def test_normalised_layers_have_mean_0_and_variance_1_before_the_activation():
    mlp = MLP(3, (50,), 50, jax.random.key(0), lambda x: x, normalized=True)
    mlp = eqx.tree_at(lambda m: m.layers[-1].weight, mlp, jnp.eye(50))
    h = mlp(jnp.array([3.0, -1.0, 2.0]))
    np.testing.assert_allclose([h.mean(), h.var()], [0.0, 1.0], atol=1e-3)
