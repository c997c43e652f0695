"""Soft actor-critic: values and targets by hand, and a bandit whose best soft policy is known."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from adaptax.estimators.sac import TwinCritic, moved_towards, soft_value
from adaptax.estimators.transitions import bootstrapped
from adaptax.networks.distributions import Categorical, TanhGaussian
from adaptax.types import Box, Discrete

KEY = jax.random.key(0)


def linear(first, second) -> TwinCritic:
    """Critics without hidden layers over one-hot states: Q_i(x, ·) = W_i x."""
    critic = TwinCritic(len(first[0]), (), Discrete(len(first)), KEY)
    weight = jnp.array([first, second])
    return eqx.tree_at(lambda c: c.nets.layers[0].weight, critic, weight)


TWO_STATES = linear([[1.0, 4.0], [3.0, 2.0]], [[2.0, 5.0], [0.0, 1.0]])
"""Rows are actions, columns states. State 0: Q₁ = (1, 3), Q₂ = (2, 0), so min Q = (1, 0). State 1: Q₁ = (4, 2), Q₂ = (5, 1),
so min Q = (4, 1)."""
STATES = jnp.eye(2)


def check_target() -> None:
    """π(·|s₁) = (¼, ¾): V = ¼·4 + ¾·1 + H = 1.75 + 0.5623. A step into s₁ that pays ½, with γ = 0.8: y = ½ + 0.8 V; terminated:
    ½, whatever follows. The time's being up is not told to the target at all."""
    dist = Categorical(jnp.log(jnp.array([0.25, 0.75])))
    value, entropy = soft_value(TWO_STATES, STATES[1], dist, KEY)
    h = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    np.testing.assert_allclose(entropy, h, rtol=1e-5)
    np.testing.assert_allclose(value, 1.75 + h, rtol=1e-5)
    reward, γ = jnp.array(0.5), jnp.array(0.8)
    np.testing.assert_allclose(
        bootstrapped(reward, jnp.array(False), value, γ), 0.5 + 0.8 * (1.75 + h), rtol=1e-5
    )
    np.testing.assert_allclose(bootstrapped(reward, jnp.array(True), value, γ), 0.5)


def test_discrete_target_of_two_states_by_hand():
    check_target()


def test_the_critic_of_an_action_is_that_entry():
    for state in STATES:
        each = TWO_STATES.of_each_action(state)
        for action in range(2):
            np.testing.assert_allclose(TWO_STATES(state, jnp.array(action)), each[:, action], rtol=1e-5)


def test_the_best_discrete_policy_is_the_softmax_of_q():
    """max_π Σ π (Q − log π) = logsumexp Q at π ∝ exp Q, where the gradient in the logits vanishes."""
    best = Categorical(jnp.array([1.0, 0.0]))
    value = lambda logits: soft_value(TWO_STATES, STATES[0], Categorical(logits), KEY)[0]  # noqa: E731
    np.testing.assert_allclose(value(best.logits), np.logaddexp(1.0, 0.0), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(value)(best.logits), 0.0, atol=1e-6)
    assert np.abs(jax.grad(value)(jnp.zeros(2))).max() > 0.1


class Hill(TwinCritic):
    """Q(x, a) = −5 (a − 0.3)², by both critics."""

    def __init__(self):
        self.nets, self.space = TWO_STATES.nets, TWO_STATES.space

    def __call__(self, x, action):
        return jnp.full(2, -5.0 * (action[0] - 0.3) ** 2)


@pytest.mark.parametrize("bounded", [True, False])
def test_a_one_step_task_of_one_action_is_solved(bounded):
    """Ascent on V finds the best normal (squashed, or not): that of numerical integration."""
    hill = Hill()

    def value(params, key):
        dist = TanhGaussian(params[:1], params[1:], (bounded,))
        return jax.vmap(lambda k: soft_value(hill, jnp.zeros(2), dist, k)[0])(
            jax.random.split(key, 256)
        ).mean()

    def exact(params):
        μ, σ = params[0], math.exp(params[1])
        squash = np.tanh if bounded else lambda u: u
        slope = (lambda u: 2 * (math.log(2) - u - np.logaddexp(0, -2 * u))) if bounded else lambda u: 0.0
        inside = lambda u: stats.norm.pdf(u, μ, σ) * (-5 * (squash(u) - 0.3) ** 2 + slope(u))  # noqa: E731
        return (
            integrate.quad(inside, μ - 8 * σ, μ + 8 * σ)[0]
            + math.log(σ)
            + 0.5 * math.log(2 * math.pi * math.e)
        )

    step = jax.jit(lambda p, k, lr: p + lr * jax.grad(value)(p, k))
    params = jnp.array([-1.0, 0.5])
    for i in range(600):
        params = step(params, jax.random.key(i), 0.05 if i < 300 else 0.005)
    found = exact(np.asarray(params, float))
    grid = [exact((μ, s)) for μ in np.linspace(0.1, 0.6, 11) for s in np.linspace(-1.6, -0.4, 13)]
    assert found > max(grid) - 0.03
    sampled = value(params, jax.random.key(9999))
    assert abs(float(sampled) - found) < 0.3


def test_target_networks_go_their_share_of_the_way():
    old, new = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([2.0, -2.0])}
    np.testing.assert_allclose(moved_towards(old, new, jnp.array(0.25))["w"], [1.25, 1.0])


def test_continuous_critics_see_the_action_as_the_environment_does():
    """Bounded entries clipped to [−1, 1], unbounded ones unchanged; two critics of the same shape differ."""
    critic = TwinCritic(3, (8,), Box((-1.0, -math.inf), (1.0, math.inf)), KEY)
    scaled = jax.tree.map(lambda x: 3.0 * x, critic)
    x = jnp.array([0.2, -1.0, 0.5])
    inside, outside, other = (scaled(x, jnp.array(a)) for a in ([1.0, 2.0], [5.0, 2.0], [1.0, 3.0]))
    np.testing.assert_array_equal(inside, outside)
    assert np.all(inside != other) and inside[0] != inside[1]
