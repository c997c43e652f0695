"""Small operations on pytrees that several floors share."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

T = TypeVar("T")


def where(condition: Bool[Array, ""], yes: T, no: T) -> T:
    """`yes` where the scalar condition holds, else `no`, leaf by leaf (typed PRNG keys included)."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def index(tree: T, i: Any) -> T:
    """Entry or slice `i` of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def stack(trees: list[T]) -> T:
    """A list of alike trees as one tree with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def scale(factor: Any, tree: T) -> T:
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def add(a: T, b: T) -> T:
    return jax.tree.map(jnp.add, a, b)


def within(norm: Array, tree: T) -> T:
    """Scaled down to this Euclidean norm where it is longer; the derivative is finite where all is 0."""
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))
    # Without 10⁻¹² the root's derivative at 0 were infinite.
    return scale(jnp.minimum(1.0, norm / jnp.sqrt(squares + 1e-12)), tree)


def strongly_typed(tree: T) -> T:
    """The same arrays without JAX's mark of a Python number (weak type), which would compile a program twice."""

    def strong(x: Any) -> Any:
        return jnp.asarray(x, x.dtype) if getattr(x, "weak_type", False) else x

    return jax.tree.map(strong, tree)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """True where no floating leaf holds a NaN or an infinity."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves])) if leaves else jnp.array(True)
