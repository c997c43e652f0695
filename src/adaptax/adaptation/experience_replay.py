"""Learning from a stream beside the replay of what came before: meta-experience replay, and what it is compared with.

Riemer et al. 2019 (arXiv 1810.11910). Plain replay lowers the loss of old and new examples. MER also lowers the interference of
one with the other: single steps on old and new examples in turn, of which the parameters then go a part of the way (Reptile),
follow to second order the gradient of

    E_{B ~ memory ∪ current} [ 2 Σ_i L(B_i) − Σ_i Σ_{j<i} α ∂L(B_i)/∂θ · ∂L(B_j)/∂θ ]             (§3.1, eq. 6)

What an example is, and which loss it has, is the caller's: a labelled image, or a minibatch of transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from adaptax import trees

Params: TypeAlias = Any
Loss: TypeAlias = Callable[[Params, Any], Float[Array, ""]]
"""(parameters, one example) ↦ loss"""
Rate: TypeAlias = Float[Array, ""]


def towards(start: Params, end: Params, share: Rate) -> Params:
    """Reptile's step: start + share · (end − start)."""
    return jax.tree.map(lambda a, b: a + share * (b - a), start, end)


def one_by_one(
    loss: Loss, params: Params, examples: PyTree[Shaped[Array, "n ..."]], rates: Float[Array, " n"]
) -> Params:
    """After one gradient step on each example in turn, each with its own step size."""

    def step(params: Params, inputs: tuple[Any, Rate]) -> tuple[Params, None]:
        example, rate = inputs
        return trees.add(params, trees.scale(-rate, jax.grad(loss)(params, example))), None

    return jax.lax.scan(step, params, (examples, rates))[0]


def within_and_across_batches(
    loss: Loss, params: Params, batches: PyTree[Shaped[Array, "s k ..."]], α: Rate, β: Rate, γ: Rate
) -> Params:
    """Algorithm 1. After each of s batches, whose k examples are met one by one, the parameters go the share β of the way; after
    all of them, the share γ of the whole way. The current example stands in every batch."""
    rates = jnp.broadcast_to(α, jax.tree.leaves(batches)[0].shape[1])

    def batch(params: Params, examples: Any) -> tuple[Params, None]:
        return towards(params, one_by_one(loss, params, examples, rates), β), None

    return towards(params, jax.lax.scan(batch, params, batches)[0], γ)


def one_big_batch(
    loss: Loss, params: Params, batches: PyTree[Shaped[Array, "s k ..."]], α: Rate, γ: Rate
) -> Params:
    """Algorithm 6. All examples of all batches one by one, and the share γ of the way."""
    examples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batches)
    rates = jnp.broadcast_to(α, jax.tree.leaves(examples)[0].shape[:1])
    return towards(params, one_by_one(loss, params, examples, rates), γ)


def current_example_rate(
    loss: Loss, params: Params, batch: PyTree[Shaped[Array, "k ..."]], α: Rate, times: Rate, γ: Rate
) -> Params:
    """Algorithm 7. One batch, whose last example is the current one: it has `times` the step size α instead of coming again."""
    k = jax.tree.leaves(batch)[0].shape[0]
    rates = jnp.full(k, α).at[-1].mul(times)
    return towards(params, one_by_one(loss, params, batch, rates), γ)


def averaged(loss: Loss, params: Params, batches: PyTree[Shaped[Array, "s k ..."]], α: Rate) -> Params:
    """Plain replay: one step on the mean loss of each of s batches."""

    def step(params: Params, batch: Any) -> tuple[Params, None]:
        mean = lambda params: jax.vmap(loss, (None, 0))(params, batch).mean()  # noqa: E731
        return trees.add(params, trees.scale(-α, jax.grad(mean)(params))), None

    return jax.lax.scan(step, params, batches)[0]


class Anchor(eqx.Module):
    """Elastic weight consolidation (Kirkpatrick et al. 2017): a quadratic that holds parameters where past tasks left them.

    Σ_t F_t (θ − θ_t)², summed over past tasks, is one quadratic with precision Σ_t F_t around their weighted mean, and a constant.
    """

    centre: Any
    precision: Any

    @staticmethod
    def of(params: Any) -> Anchor:
        """Before any task: nothing is held."""
        return Anchor(params, jax.tree.map(jnp.zeros_like, params))

    def penalty(self, params: Any) -> Float[Array, ""]:
        """½ Σ_i F_i (θ_i − θ*_i)²"""
        each = jax.tree.map(
            lambda f, θ, c: 0.5 * (f * (θ - c) ** 2).sum(), self.precision, params, self.centre
        )
        return jax.tree.reduce(jnp.add, each)

    def holding(self, loss: Loss, params: Any, examples: PyTree[Shaped[Array, "n ..."]]) -> Anchor:
        """With one more task, which ended with these parameters: F is the mean square of its examples' gradients, the
        diagonal of the empirical Fisher information where the loss is −log p."""
        squares = lambda example: jax.tree.map(jnp.square, jax.grad(loss)(params, example))  # noqa: E731
        fisher = jax.tree.map(lambda g: g.mean(0), jax.vmap(squares)(examples))
        precision = trees.add(self.precision, fisher)
        # θ* = Σ F θ / Σ F; where nothing has been held, and nothing is, it is of no account.
        share = jax.tree.map(lambda f, p: f / jnp.maximum(p, 1e-30), fisher, precision)
        centre = jax.tree.map(lambda c, θ, w: c + w * (θ - c), self.centre, params, share)
        return Anchor(centre, precision)
