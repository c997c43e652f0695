"""Trust-region steps (Schulman et al. 2015): conjugate gradient and backtracking line search."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax import trees


def conjugate_gradient(
    product: Callable[[Array], Array], b: Float[Array, " n"], iterations: int, tolerance: float = 1e-10
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """x with A x ≈ b for a positive definite A given by its product, and the residual b − A x.

    At most `iterations` steps from x = 0; those after ‖r‖² ≤ tolerance·‖b‖² change nothing.
    """
    enough = tolerance * (b @ b)

    def step(_, state):
        x, r, p, rr = state
        ap = product(p)
        α = rr / jnp.maximum(p @ ap, 1e-38)
        x_next, r_next = x + α * p, r - α * ap
        rr_next = r_next @ r_next
        p_next = r_next + rr_next / jnp.maximum(rr, 1e-38) * p
        done = rr <= enough
        return jax.tree.map(
            lambda new, old: jnp.where(done, old, new), (x_next, r_next, p_next, rr_next), state
        )

    x, r, _, _ = jax.lax.fori_loop(0, iterations, step, (jnp.zeros_like(b), b, b, b @ b))
    return x, r


class LineSearch(NamedTuple):
    point: Array
    """The accepted point, or the start where no step was good enough."""
    accepted: Array
    """bool"""
    loss: Array
    """At the point."""
    kl: Array
    """At the point, from the start."""
    trials: Array
    """int32, how many step lengths were tried."""


def line_search(
    evaluate: Callable[[Array], tuple[Array, Array]],
    start: Float[Array, " n"],
    step: Float[Array, " n"],
    loss: Float[Array, ""],
    max_kl: float | Float[Array, ""],
    trials: int = 15,
    shrink: float = 0.5,
) -> LineSearch:
    """The first of start − shrinkʲ·step, j = 0, 1, …, that lowers the loss within the KL bound.

    `evaluate(point)` returns (loss, KL). A NaN is never accepted.
    """

    def go_on(state: tuple[Array, LineSearch]) -> Array:
        j, found = state
        return (j < trials) & ~found.accepted

    def attempt(state: tuple[Array, LineSearch]) -> tuple[Array, LineSearch]:
        j, found = state
        point = start - shrink ** j.astype(jnp.float32) * step
        new_loss, kl = evaluate(point)
        good = (new_loss < loss) & (kl <= max_kl)
        tried = LineSearch(point, good, new_loss, kl, j + 1)
        return j + 1, trees.where(good, tried, found._replace(trials=j + 1))

    none = LineSearch(start, jnp.array(False), loss, jnp.zeros_like(loss), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(go_on, attempt, (jnp.zeros((), jnp.int32), none))[1]
