"""Update rules: by hand on a few numbers, against optax, and their meta-gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from adaptax import trees
from adaptax.adaptation.update_rules import (
    SGD,
    Adam,
    GradientNetwork,
    LearnedRates,
    MetaCurvature,
    UpdateRule,
)

LR = 0.1
ZERO = jnp.zeros(())


def adam(lr: float = LR, b1: float = 0.9, b2: float = 0.999, **eps: float) -> Adam:
    return Adam(jnp.array(lr), jnp.array(b1), jnp.array(b2), **eps)


def first_step(rule: UpdateRule, params: Any, gradient: Any, ψ: Any = None) -> Any:
    """Δ of the first step in a task; ψ as it is before training where none is given."""
    ψ = rule.init(params, jax.random.key(0)) if ψ is None else ψ
    return rule.step(ψ, rule.begin(ψ, params), params, gradient, ZERO)[0]


# --- by hand -----------------------------------------------------------------------------------------------


def test_sgd_steps_against_the_gradient():
    Δ = first_step(SGD(jnp.array(0.5)), {"a": jnp.array([7.0, 7.0])}, {"a": jnp.array([1.0, -4.0])})
    np.testing.assert_array_equal(Δ["a"], [-0.5, 2.0])


def test_learned_rates_are_plain_sgd_at_first():
    params, gradient = jnp.array([7.0, 7.0]), jnp.array([1.0, -4.0])
    np.testing.assert_array_equal(first_step(LearnedRates(jnp.array(0.5)), params, gradient), [-0.5, 2.0])


def test_learned_rates_scale_each_coordinate_and_may_turn_it_round():
    ψ = jnp.array([2.0, -0.25])
    Δ = first_step(LearnedRates(jnp.array(0.5)), jnp.zeros(2), jnp.array([1.0, -4.0]), ψ)
    np.testing.assert_array_equal(Δ, [-1.0, -0.5])


def test_adam_takes_the_steps_of_optax():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[0.5]])}
    rule, reference = adam(), optax.adam(LR, eps_root=1e-8)
    state, expected_state = rule.begin(None, params), reference.init(params)
    for i in range(4):
        gradient = jax.tree.map(lambda p, i=i: jnp.cos(3.0 * p + i), params)
        Δ, state = rule.step(None, state, params, gradient, ZERO)
        expected, expected_state = reference.update(gradient, expected_state, params)
        for found, e in zip(jax.tree.leaves(Δ), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(found, e, rtol=2e-5)  # 1 − β₂ is rounded differently
        params = trees.add(params, Δ)


def test_the_first_step_of_adam_is_the_gradients_sign():
    """m̂ = g and v̂ = g²: −α g/√(g² + ε)."""
    np.testing.assert_allclose(
        first_step(adam(), jnp.zeros(3), jnp.array([5.0, -0.1, 0.0])), [-LR, LR, 0.0], rtol=1e-5
    )


def test_adam_without_momentum_forgets_directions():
    """β₁ = 0, β₂ = ½: v = ½·½·1 + ½·9 = 4.75 after gradients 1 and 3, v̂ = v/(1 − ¼)."""
    rule = adam(b1=0.0, b2=0.5)
    params = jnp.zeros(1)
    _, state = rule.step(None, rule.begin(None, params), params, jnp.array([1.0]), ZERO)
    Δ, _ = rule.step(None, state, params, jnp.array([3.0]), ZERO)
    np.testing.assert_allclose(Δ, [-LR * 3.0 / math.sqrt(4.75 / 0.75)], rtol=1e-5)


def test_meta_curvature_is_plain_sgd_at_first():
    params = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(2), "k": jnp.zeros((2, 3, 2))}
    gradient = jax.tree.map(lambda p: jnp.arange(1.0, 1 + p.size).reshape(p.shape), params)
    Δ = first_step(MetaCurvature(jnp.array(0.5)), params, gradient)
    for found, g in zip(jax.tree.leaves(Δ), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, -0.5 * g, rtol=1e-5)


def check_meta_curvature() -> None:
    """(1 2; 0 1)(1 2; 3 4)(2 0; 1 1) = (7 10; 3 4)(2 0; 1 1) = (24 10; 10 4), and (1 1; 0 2)(3, 4) = (7, 8)."""
    ψ = {
        "w": (jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([[2.0, 0.0], [1.0, 1.0]])),
        "b": (jnp.array([[1.0, 1.0], [0.0, 2.0]]),),
    }
    gradient = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "b": jnp.array([3.0, 4.0])}
    Δ = first_step(MetaCurvature(jnp.array(0.5)), trees.scale(0.0, gradient), gradient, ψ)
    np.testing.assert_allclose(Δ["w"], [[-12.0, -5.0], [-5.0, -2.0]])
    np.testing.assert_allclose(Δ["b"], [-3.5, -4.0])


def test_meta_curvature_multiplies_from_both_sides():
    check_meta_curvature()


def away(ψ: Any, seed: int = 1, by: float = 0.3) -> Any:
    """ψ with every leaf moved, as training would."""
    flat, unravel = ravel_pytree(ψ)
    return unravel(flat + by * jax.random.normal(jax.random.key(seed), flat.shape, flat.dtype))


def test_a_gradient_network_is_plain_sgd_at_first():
    params = {"w": jnp.array([[1.0, -2.0, 3.0]]), "b": jnp.array([0.5])}
    gradient = {"w": jnp.array([[1e-6, 40.0, -1.0]]), "b": jnp.array([0.0])}
    Δ = first_step(GradientNetwork(jnp.array(0.5), (4,)), params, gradient)
    for found, g in zip(jax.tree.leaves(Δ), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(found, -0.5 * g, rtol=1e-5)


def test_a_gradient_network_reads_each_coordinate_alike():
    """Within a leaf, coordinates with the same gradient and value get the same step, in whichever order they stand."""
    rule = GradientNetwork(jnp.array(0.5), (4,))
    params, gradient = jnp.array([1.0, -2.0, 1.0, 0.3]), jnp.array([0.2, 5.0, 0.2, -1.0])
    ψ = away(rule.init(params, jax.random.key(0)))
    Δ = first_step(rule, params, gradient, ψ)
    assert Δ[0] == Δ[2]
    assert len(np.unique(Δ)) == 3
    assert not np.allclose(Δ, -0.5 * gradient)
    order = jnp.array([3, 2, 0, 1])
    np.testing.assert_allclose(first_step(rule, params[order], gradient[order], ψ), Δ[order], rtol=1e-5)


def check_positions() -> None:
    rule = GradientNetwork(jnp.array(0.5), (4,))
    params = {"a": jnp.array([1.0]), "b": jnp.array([1.0])}
    gradient = {"a": jnp.array([0.2]), "b": jnp.array([0.2])}
    Δ = first_step(rule, params, gradient, away(rule.init(params, jax.random.key(0))))
    assert Δ["a"][0] != Δ["b"][0]


def test_a_gradient_network_tells_leaves_apart():
    check_positions()


# --- where a gradient is exactly zero ----------------------------------------------------------------------


def after_two_steps(step: Callable[[Any, Any, Any], tuple[Any, Any]], state: Any, params: Any) -> jax.Array:
    """The loss (p·x)² after two inner steps on it, x = (1, 0): as of an input that is always 0, the gradient of p₁ is."""
    loss = lambda p: (p @ jnp.array([1.0, 0.0])) ** 2  # noqa: E731
    for _ in range(2):
        Δ, state = step(jax.grad(loss)(params), state, params)
        params = params + Δ
    return loss(params)


def test_adam_of_optax_makes_the_meta_gradient_nan_where_a_gradient_is_zero():
    """What `Adam.eps_root` is for."""
    optimizer = optax.adam(LR)
    meta = jax.grad(lambda p: after_two_steps(optimizer.update, optimizer.init(p), p))
    assert np.isnan(jax.jit(meta)(jnp.array([1.0, 3.0]))).any()


RULES = {
    "sgd": SGD(jnp.array(LR)),
    "learned rates": LearnedRates(jnp.array(LR)),
    "adam": adam(),
    "adam without momentum": adam(b1=0.0),
    "meta-curvature": MetaCurvature(jnp.array(LR)),
    "gradient network": GradientNetwork(jnp.array(LR), (4,)),
}


def check_no_nan(name: str) -> None:
    rule = RULES[name]

    def loss(params, ψ):
        step = lambda g, s, p: rule.step(ψ, s, p, g, p[0] ** 2)  # noqa: E731
        return after_two_steps(step, rule.begin(ψ, params), params)

    for params in (jnp.array([1.0, 3.0]), jnp.zeros(2)):  # in the second all gradients are zero
        ψ = away(rule.init(params, jax.random.key(0)))
        found = jax.jit(jax.grad(loss, (0, 1)))(params, ψ)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.mark.parametrize("name", RULES)
def test_no_rule_makes_the_meta_gradient_nan_where_a_gradient_is_zero(name):
    check_no_nan(name)


def test_a_gradient_network_has_finite_second_derivatives_where_a_gradient_is_zero():
    """Of one step in the gradient and the parameter: what a meta-gradient through it is made of."""
    rule = RULES["gradient network"]
    ψ = away(rule.init(jnp.zeros(2), jax.random.key(0)))
    for gradient in (jnp.array([1.0, 0.0]), jnp.zeros(2)):
        step = lambda g, p: first_step(rule, p, g, ψ)  # noqa: E731
        second = jax.jit(jax.jacfwd(jax.jacfwd(step, (0, 1)), (0, 1)))(gradient, jnp.ones(2))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(second))


# --- meta-gradients ----------------------------------------------------------------------------------------


class Quadratic(eqx.Module):
    """½ xᵀAx − bᵀx of a tree of six numbers, A positive definite."""

    a: jax.Array
    b: jax.Array

    @staticmethod
    def draw(rng: np.random.Generator) -> Quadratic:
        m = rng.normal(size=(6, 6))
        return Quadratic(jnp.asarray(m @ m.T / 6 + 0.1 * np.eye(6)), jnp.asarray(rng.normal(size=6)))

    def __call__(self, params: Any) -> jax.Array:
        x = ravel_pytree(params)[0]
        return 0.5 * x @ self.a @ x - self.b @ x


PARAMS = {"w": np.zeros((2, 2)), "b": np.zeros(2)}


@eqx.filter_jit
def meta_gradients(
    rule: UpdateRule, noise: jax.Array, inner: Quadratic, outer: Quadratic
) -> tuple[jax.Array, jax.Array]:
    """Of `outer` after two steps on `inner`, in everything that is trained, θ and ψ in one vector: by `jax.grad`, and by
    central differences. `noise` moves the point away from where training begins."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    trained = jax.tree.map(lambda x: x.astype(float), (params, rule.init(params, jax.random.key(0))))
    start, unravel = ravel_pytree(trained)
    point = start + noise[: start.size]

    def loss(flat):
        params, ψ = unravel(flat)
        state = rule.begin(ψ, params)
        for _ in range(2):
            value, gradient = jax.value_and_grad(inner)(params)
            Δ, state = rule.step(ψ, state, params, gradient, value)
            params = trees.add(params, Δ)
        return outer(params)

    nudges = 1e-7 * jnp.eye(point.size, dtype=point.dtype)
    difference = jax.vmap(lambda δ: (loss(point + δ) - loss(point - δ)) / 2e-7)
    return jax.grad(loss)(point), difference(nudges)


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 2**20))
def test_meta_gradients_are_those_of_finite_differences(name, seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        rule = jax.tree.map(lambda x: x.astype(float) if eqx.is_inexact_array(x) else x, RULES[name])
        noise = jnp.asarray(0.5 * rng.normal(size=200))
        found, expected = meta_gradients(rule, noise, Quadratic.draw(rng), Quadratic.draw(rng))
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, expected, atol=1e-6 * max(1.0, float(jnp.abs(expected).max())))
