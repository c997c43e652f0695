"""The linear feature baseline against numpy's least squares and values that it can hold exactly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from adaptax.estimators.baseline import features, linear_advantages, time_in_episode
from adaptax.types import Step

N, T, D = 16, 8, 2
advantages = jax.jit(linear_advantages)


def batch(rng: np.random.Generator, lengths: np.ndarray, reward: np.ndarray, obs: np.ndarray) -> Step:
    """Step[N, T]: one episode a stream, of the given lengths, then invalid rows."""
    n, steps = reward.shape
    t = np.arange(steps)
    valid = t < lengths[:, None]
    last = t == lengths[:, None] - 1
    zero = np.zeros((n, steps), np.float32)
    fields = {
        "obs": obs, "prev_action": zero, "prev_reward": zero, "first": np.broadcast_to(t == 0, (n, steps)),
        "episode": zero, "reward": reward, "terminated": last & (lengths[:, None] < steps),
        "truncated": last & (lengths[:, None] == steps), "valid": valid,
    }  # fmt: skip
    return Step(**{name: jnp.asarray(np.float32(x) if x.dtype == float else x) for name, x in fields.items()})


def test_a_return_that_is_linear_in_the_features_leaves_no_advantage():
    """Reward 1 a step and full length: the return to go is T − t, linear in time, and the baseline takes all of it."""
    rng = np.random.default_rng(0)
    steps = batch(rng, np.full(N, T), np.ones((N, T)), rng.normal(size=(N, T, D)))
    assert np.abs(advantages(steps, 1.0, 1.0)).max() < 0.02
    # With γ = ½ the return 2 − 2^(t−T+1) is no polynomial of the third degree, but nearly one.
    assert np.abs(advantages(steps, 0.5, 1.0)).max() < 0.1


def test_the_fit_is_that_of_numpy():
    """λ = 1: advantages are the residuals of the least-squares fit of the returns to go."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, T + 1, N)
    reward, obs = rng.normal(size=(N, T)), rng.normal(size=(N, T, D))
    steps = batch(rng, lengths, reward, obs)
    valid = np.asarray(steps.valid)
    reward = np.where(valid, reward, 0.0)
    γ = 0.9
    returns = np.zeros((N, T + 1))
    for t in reversed(range(T)):
        returns[:, t] = reward[:, t] + γ * returns[:, t + 1]
    τ = np.broadcast_to(np.arange(T) / 100.0, (N, T))
    x = np.concatenate([obs, obs**2, np.stack([τ, τ**2, τ**3, np.ones((N, T))], -1)], -1)[valid]
    y = returns[:, :T][valid]
    weights, *_ = np.linalg.lstsq(x, y, rcond=None)
    ours = np.asarray(advantages(steps, γ, 1.0))[valid]
    residual = y - x @ weights
    # The ridge shrinks what the nearly collinear powers of time would add.
    assert np.abs(ours - residual).max() < 0.05 * y.std()
    assert ours @ ours < 1.005 * (residual @ residual)


def test_advantages_are_generalised_by_lambda():
    """λ = 0: A = r + γV' − V. Rewards are 0 but in the last row, where V' is 0: the advantages add up as TD errors do."""
    rng = np.random.default_rng(2)
    obs = rng.normal(size=(N, T, D))
    reward = np.zeros((N, T))
    reward[:, -1] = rng.normal(size=N)
    steps = batch(rng, np.full(N, T), reward, obs)
    one_step, full = (np.asarray(advantages(steps, 1.0, λ)) for λ in (0.0, 1.0))
    np.testing.assert_allclose(np.cumsum(one_step[:, ::-1], 1)[:, ::-1], full, atol=1e-3)


def test_few_rows_with_many_features_leave_advantages():
    """Three rows of nine numbers, which would explain every return: the baseline is then their mean."""
    rng = np.random.default_rng(4)
    reward = np.array([[1.0], [2.0], [6.0]])
    steps = batch(rng, np.ones(3, int), reward, rng.normal(size=(3, 1, 9)))
    np.testing.assert_allclose(advantages(steps, 1.0, 1.0), reward - 3.0, atol=1e-3)


def test_features_and_time_count_from_the_episode():
    obs = jnp.array([[20.0], [-3.0], [0.5]])
    first = jnp.array([True, False, True])
    zero = jnp.zeros(3)
    time = time_in_episode(Step(obs, zero, zero, first, zero))
    np.testing.assert_array_equal(time, [0, 1, 0])
    expected = [[10, 100, 0, 0, 0, 1], [-3, 9, 0.01, 1e-4, 1e-6, 1], [0.5, 0.25, 0, 0, 0, 1]]
    np.testing.assert_allclose(features(obs, time), expected, rtol=1e-5)


def test_no_gradient_flows_through_advantages():
    rng = np.random.default_rng(3)
    steps = batch(rng, np.full(N, T), rng.normal(size=(N, T)), rng.normal(size=(N, T, D)))

    def total(scale):
        scaled = Step(**{**vars(steps), "reward": scale * steps.reward})
        return (linear_advantages(scaled, 0.9, 1.0) ** 2).sum()

    assert float(jax.jit(jax.grad(total))(2.0)) == 0.0
