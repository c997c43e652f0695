"""Implicit MAML: the derivative of an adapted solution, without the steps that led to it (Rajeswaran et al. 2019).

    φ*(θ) = argmin_φ L(φ) + λ/2 ‖φ − θ‖²                     eq. 3, proximal inner loop
    dφ*/dθ = (I + ∇²L(φ*)/λ)⁻¹                               Lemma 1

The derivative follows from ∇L(φ*) + λ(φ* − θ) = 0, and so from φ* alone: whatever found it is not differentiated, and the
memory is that of one Hessian-vector product, however many inner steps were taken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from adaptax import trees
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.estimators.trust_region import conjugate_gradient

Params = TypeVar("Params")
Loss = Callable[[Any], Float[Array, ""]]
Solver = Callable[[Loss, Any], Any]
"""(objective, start) ↦ its minimiser, near enough."""


def implicit_adaptation(
    loss: Loss, params: Params, λ: float | Float[Array, ""], solve: Solver, cg_iterations: int
) -> Params:
    """φ* for the initial parameters θ = `params`, a tree of floating arrays, whose derivative in θ is the implicit one.

    A cotangent v becomes (I + ∇²L(φ*)/λ)⁻¹ v, by `cg_iterations` steps of conjugate gradient from 0: one step gives a multiple
    of v alone, as many as there are parameters give the inverse, up to rounding. Where an eigenvalue of ∇²L(φ*) is −λ or less,
    the matrix is not positive definite, φ* is no minimum, and the derivative means nothing.

    `solve(objective, θ)` minimises L(φ) + λ/2 ‖φ − θ‖² from θ in any way, `descend` for one; how far it stops from the minimum
    is an error of the derivative too (Theorem 1). Gradients flow to `params` alone: none to what else the loss reads (data,
    ψ of an update rule, λ). The derivative is defined once: in reverse mode, and not differentiated again.
    """
    flat, unravel = ravel_pytree(params)
    # The derivative is the implicit one, which does not pass through the solver.
    start, λ = jax.lax.stop_gradient((flat, jnp.asarray(λ)))

    def objective(φ: Any) -> Array:
        return loss(φ) + 0.5 * λ * jnp.sum((ravel_pytree(φ)[0] - start) ** 2)

    found, read = _constants_apart(lambda start: ravel_pytree(solve(objective, unravel(start)))[0], start)
    solution = found(read, start)
    of_flat, read = _constants_apart(lambda φ: loss(unravel(φ)), start)
    return unravel(_implicit(of_flat, cg_iterations, flat, solution, λ, read))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _implicit(loss, cg_iterations, flat, solution, λ, read):
    """`solution`, with the derivative in `flat` that it has as the minimiser of a proximal objective."""
    return solution


def _forward(loss, cg_iterations, flat, solution, λ, read):
    return solution, (solution, λ, read)


def _backward(loss, cg_iterations, residuals, v):
    solution, λ, read = residuals
    gradient = jax.grad(lambda φ: loss(read, φ))
    product = lambda x: _product(gradient, solution, λ, x)  # noqa: E731
    return conjugate_gradient(product, v, cg_iterations)[0], None, None, None


def _product(gradient, solution, λ, x):
    """(I + ∇²L/λ) x at the solution, by a Hessian-vector product."""
    return x + jax.jvp(gradient, (solution,), (x,))[1] / λ


_implicit.defvjp(_forward, _backward)


def _constants_apart(f: Callable[[Array], Array], x: Array) -> tuple[Callable[[list, Array], Array], list]:
    """(g, what f reads from around it), f(x) = g(read, x); no gradient flows into what it reads.

    A function with a derivative of its own must not close over what is being differentiated or mapped outside of it.
    """
    traced = jax.make_jaxpr(f)(x)
    read = jax.lax.stop_gradient(traced.consts)  # gradients in the loss's other inputs are left out
    return lambda read, x: jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, read))(x)[0], read


def descend(rule: UpdateRule, ψ: Any, steps: int) -> Solver:
    """A solver: so many steps of an update rule."""

    def solve(objective: Loss, start: Any) -> Any:
        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            params, state = carry
            value, gradient = jax.value_and_grad(objective)(params)
            Δ, state = rule.step(ψ, state, params, gradient, value)
            return (trees.add(params, Δ), state), None

        return jax.lax.scan(step, (start, rule.begin(ψ, start)), None, length=steps)[0][0]

    return solve
