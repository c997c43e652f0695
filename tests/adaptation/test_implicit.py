"""Implicit adaptation: against closed forms, and against differentiating every step of a solver that has converged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from adaptax.adaptation.implicit import descend, implicit_adaptation
from adaptax.adaptation.update_rules import SGD, Adam

A = jnp.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
B = jnp.array([1.0, -2.0, 0.5])
START = jnp.array([0.3, -0.1, 2.0])
TOWARDS = jnp.array([1.0, 0.5, -1.0])
LAMBDA = 2.0
SOLVE = descend(SGD(jnp.array(0.2)), None, 200)


def quadratic(φ: jax.Array, a: jax.Array = A, b: jax.Array = B) -> jax.Array:
    return 0.5 * φ @ a @ φ - b @ φ


def relative_error(x: Any, y: Any) -> float:
    x, y = (np.asarray(ravel_pytree(t)[0], np.float64) for t in (x, y))
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def check_quadratic() -> None:
    """φ* = (A + λI)⁻¹(b + λθ), and so dφ*/dθ = λ (A + λI)⁻¹."""
    adapt = lambda θ: implicit_adaptation(quadratic, θ, LAMBDA, SOLVE, 3)  # noqa: E731
    inverse = np.linalg.inv(np.asarray(A) + LAMBDA * np.eye(3))
    np.testing.assert_allclose(jax.jit(adapt)(START), inverse @ (B + LAMBDA * START), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda θ: TOWARDS @ adapt(θ)))(START)
    np.testing.assert_allclose(gradient, LAMBDA * inverse @ TOWARDS, rtol=1e-4)


def test_a_quadratic_has_its_closed_form():
    check_quadratic()


@pytest.mark.parametrize("λ", [0.1, 1.0, 50.0])
def test_the_weight_of_the_start_may_be_traced(λ):
    """Much weight: the solution moves with the start. Little: not at all."""

    @jax.jit
    def gradient(λ):
        solve = descend(SGD(1.0 / (4.0 + λ)), None, 400)
        return jax.grad(lambda θ: TOWARDS @ implicit_adaptation(quadratic, θ, λ, solve, 3))(START)

    expected = λ * np.linalg.inv(np.asarray(A) + λ * np.eye(3)) @ TOWARDS
    np.testing.assert_allclose(gradient(λ), expected, rtol=1e-3)


# --- logistic regression -----------------------------------------------------------------------------------

Data = tuple[jax.Array, jax.Array]


def data(seed: int, n: int = 20) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray((x @ rng.normal(size=4) + rng.normal(size=n) > 0).astype(np.int32))


def logistic(params: dict[str, jax.Array], data: Data) -> jax.Array:
    x, y = data
    z = jnp.tanh(x @ params["w"] + params["b"])
    return -jax.nn.log_sigmoid((2 * y - 1) * 3.0 * z).mean()


PARAMS = {"w": jnp.array([0.5, -0.2, 0.1, 0.9]), "b": jnp.array(0.2)}


def meta_gradient(adapt: Callable[[Any, Data], Any], support: Data, query: Data) -> Any:
    return jax.jit(jax.grad(lambda θ: logistic(adapt(θ, support), query)))(PARAMS)


def implicit(cg_iterations: int, solve: Any = SOLVE) -> Callable[[Any, Data], Any]:
    return lambda θ, data: implicit_adaptation(lambda φ: logistic(φ, data), θ, LAMBDA, solve, cg_iterations)


def unrolled(θ: Any, data: Data) -> Any:
    def objective(φ):
        return logistic(φ, data) + 0.5 * LAMBDA * jnp.sum((ravel_pytree(φ)[0] - ravel_pytree(θ)[0]) ** 2)

    return SOLVE(objective, θ)


def check_logistic() -> None:
    support, query = data(1), data(2)
    exact = meta_gradient(unrolled, support, query)
    assert relative_error(meta_gradient(implicit(5), support, query), exact) < 1e-4


def test_it_is_the_derivative_of_all_steps_of_a_solver_that_has_converged():
    check_logistic()


def test_any_solver_will_do():
    adam = descend(Adam(jnp.array(0.02), jnp.array(0.9), jnp.array(0.999)), None, 1000)
    support, query = data(1), data(2)
    exact = meta_gradient(unrolled, support, query)
    assert relative_error(meta_gradient(implicit(5, adam), support, query), exact) < 1e-2


def test_each_iteration_of_conjugate_gradient_comes_nearer():
    support, query = data(1), data(2)
    exact = meta_gradient(unrolled, support, query)
    errors = [relative_error(meta_gradient(implicit(n), support, query), exact) for n in range(1, 5)]
    print("‖g − g'‖/‖g'‖ after 1, 2, … iterations:", errors)
    assert all(after < 0.7 * before for before, after in itertools.pairwise(errors))
    assert errors[0] > 1e-3


def test_tasks_are_mapped_inside_and_outside_of_the_gradient():
    """Data of a task, integers among them, reach the derivative through a `vmap` on either side of it."""
    tasks = [(data(i), data(i + 10)) for i in range(3)]
    support, query = jax.tree.map(lambda *x: jnp.stack(x), *tasks)
    adapt = implicit(5)
    loss = lambda θ, s, q: logistic(adapt(θ, s), q)  # noqa: E731
    outside = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(PARAMS, support, query)
    inside = jax.jit(jax.grad(lambda θ: jax.vmap(loss, (None, 0, 0))(θ, support, query).mean()))(PARAMS)
    for i, (s, q) in enumerate(tasks):
        one = meta_gradient(adapt, s, q)
        assert relative_error(jax.tree.map(lambda x, i=i: x[i], outside), one) < 1e-5
    assert relative_error(jax.tree.map(lambda x: x.mean(0), outside), inside) < 1e-5


def test_no_gradient_flows_to_the_data_or_to_the_solver():
    def loss(b, lr):
        solve = descend(SGD(lr), None, 50)
        return TOWARDS @ implicit_adaptation(lambda φ: quadratic(φ, b=b), START, LAMBDA, solve, 3)

    for gradient in jax.jit(jax.grad(loss, (0, 1)))(B, jnp.array(0.2)):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_memory_does_not_grow_with_the_steps():
    support, query = data(1, 500), data(2)

    def temporary(adapt: Callable[[int], Callable[[Any, Data], Any]], steps: int) -> int:
        loss = lambda θ, s, q: logistic(adapt(steps)(θ, s), q)  # noqa: E731
        compiled = jax.jit(jax.grad(loss)).lower(PARAMS, support, query).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def through(steps):
        solve = descend(SGD(jnp.array(0.2)), None, steps)
        return lambda θ, data: solve(lambda φ: logistic(φ, data), θ)

    without = lambda steps: implicit(5, descend(SGD(jnp.array(0.2)), None, steps))  # noqa: E731
    assert temporary(without, 1000) <= 1.01 * temporary(without, 10)
    assert temporary(through, 1000) > 10 * temporary(through, 10)
