"""Meta-experience replay by hand, on a linear model whose steps are known: ½ (w·x − y)², Δw = −α (w·x − y) x."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from adaptax.adaptation.experience_replay import (
    Anchor,
    averaged,
    current_example_rate,
    one_big_batch,
    within_and_across_batches,
)

S, K, N = 3, 4, 2
RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(S, K, N)), RNG.normal(size=(S, K)), RNG.normal(size=N)
BATCHES = jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)
START = jnp.asarray(W, jnp.float32)
ALPHA, BETA, GAMMA, TIMES = (jnp.array(x) for x in (0.1, 0.4, 0.7, 3.0))


def loss(w, example):
    x, y = example
    return 0.5 * (w @ x - y) ** 2


def stepped(w, x, y, rate):
    return w - rate * (w @ x - y) * x


def check_algorithm_1() -> None:
    w = W
    for i in range(S):
        before = w
        for j in range(K):
            w = stepped(w, X[i, j], Y[i, j], 0.1)
        w = before + 0.4 * (w - before)
    w = W + 0.7 * (w - W)
    np.testing.assert_allclose(within_and_across_batches(loss, START, BATCHES, ALPHA, BETA, GAMMA), w, rtol=1e-5)  # fmt: skip


def check_algorithm_6() -> None:
    w = W
    for x, y in zip(X.reshape(-1, N), Y.ravel(), strict=True):
        w = stepped(w, x, y, 0.1)
    np.testing.assert_allclose(one_big_batch(loss, START, BATCHES, ALPHA, GAMMA), W + 0.7 * (w - W), rtol=1e-5)  # fmt: skip


def check_algorithm_7() -> None:
    w = W
    for j in range(K):
        w = stepped(w, X[0, j], Y[0, j], 0.3 if j == K - 1 else 0.1)
    batch = jax.tree.map(lambda x: x[0], BATCHES)
    got = current_example_rate(loss, START, batch, ALPHA, TIMES, GAMMA)
    np.testing.assert_allclose(got, W + 0.7 * (w - W), rtol=1e-5)


def test_algorithm_1_goes_a_part_of_the_way_in_each_batch_and_over_all():
    check_algorithm_1()


def test_algorithm_6_goes_a_part_of_the_way_once():
    check_algorithm_6()


def test_algorithm_7_takes_a_longer_step_on_the_current_example():
    check_algorithm_7()


def test_plain_replay_takes_one_step_a_batch():
    w = W
    for i in range(S):
        w = w - 0.1 * np.mean([(w @ X[i, j] - Y[i, j]) * X[i, j] for j in range(K)], 0)
    np.testing.assert_allclose(averaged(loss, START, BATCHES, ALPHA), w, rtol=1e-5)


def test_single_steps_align_gradients_to_second_order():
    """Two steps, one on each of two losses, and back: on average over both orders −α (g₁ + g₂) + ½ α² ∇(g₁ · g₂) (§3.1, eq. 6)."""
    α = 0.3
    two = jax.tree.map(lambda x: x[:1, :2], BATCHES)
    orders = [jax.tree.map(lambda x, o=o: x[:, jnp.array(o)], two) for o in ((0, 1), (1, 0))]
    moved = np.mean([one_big_batch(loss, START, b, jnp.array(α), jnp.array(1.0)) - START for b in orders], 0)
    g = lambda w, j: (w @ X[0, j] - Y[0, j]) * X[0, j]  # noqa: E731
    # ∇(g₁ · g₂) = H₁ g₂ + H₂ g₁ with H = x xᵀ
    aligned = X[0, 0] * (X[0, 0] @ g(W, 1)) + X[0, 1] * (X[0, 1] @ g(W, 0))
    expected = -α * (g(W, 0) + g(W, 1)) + 0.5 * α**2 * aligned
    np.testing.assert_allclose(moved, expected, rtol=1e-5)  # exact: the losses are quadratic
    assert not np.allclose(moved, -α * (g(W, 0) + g(W, 1)), rtol=0.01)


def check_anchor() -> None:
    """The gradient of the penalty is that of the sum of all tasks' quadratics, Σ_t F_t (θ − θ_t)."""
    anchor, fishers, ends = Anchor.of(START), [], []
    for t in range(2):
        end, examples = W + t, jax.tree.map(lambda x, t=t: x[t], BATCHES)
        anchor = anchor.holding(loss, jnp.asarray(end, jnp.float32), examples)
        gradients = [(end @ X[t, j] - Y[t, j]) * X[t, j] for j in range(K)]
        fishers.append(np.mean(np.square(gradients), 0))
        ends.append(end)
    at = np.array([0.3, -2.0])
    expected = sum(f * (at - end) for f, end in zip(fishers, ends, strict=True))
    np.testing.assert_allclose(jax.grad(anchor.penalty)(jnp.asarray(at, jnp.float32)), expected, rtol=1e-5)


def test_an_anchor_holds_what_each_task_left():
    check_anchor()
    assert float(Anchor.of(START).penalty(START + 5.0)) == 0.0
