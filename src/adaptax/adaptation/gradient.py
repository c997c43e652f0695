"""Adaptation by gradient steps on a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import Array, PyTree

P = TypeVar("P")


def gradient_step(loss: Callable[[P], Array], params: P, lr: PyTree, first_order: bool) -> P:
    """θ' = θ − α ⊙ ∇L(θ), differentiable in θ and α (Finn et al. 2017, eq. 1; Li et al. 2017 for α per parameter).

    `lr` is a scalar or a tree like `params`. With `first_order` the gradient counts as a constant, so that dθ'/dθ = I:
    the meta-gradient loses its second derivatives and its product with the curvature of L.
    """
    gradient = jax.grad(loss)(params)
    if first_order:
        gradient = jax.lax.stop_gradient(gradient)  # first-order MAML: that is its definition
    if jax.tree.structure(lr) != jax.tree.structure(params):
        lr = jax.tree.map(lambda _: lr, params)
    return jax.tree.map(lambda p, α, g: p - α * g, params, lr, gradient)
