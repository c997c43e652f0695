"""Which of many stored transitions help with the present task: a selector that learns to foresee it.

A gradient step of size α on a stored transition i lowers the loss of the present task's experience D, to first order, by α a_i:

    a_i = ∇L(i; θ) · ∇L(D; θ)

The selector does not know D when it chooses; it has seen a few transitions of the task. It scores i by f(i) · z, z the mean of g on
them, and is trained on past tasks to say a_i, in units of its root mean square. A choice is a draw from softmax(score/τ).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.buffers import Buffer
from adaptax.estimators.transitions import Transition
from adaptax.networks.encoding import encode_action, observation_size
from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Spec

MOST = 3.0
"""Alignments count as no more than so many times their root mean square."""


class Selector(eqx.Module):
    row: MLP
    """f"""
    task: MLP
    """g"""
    spec: Spec = eqx.field(static=True)

    def __init__(self, spec: Spec, hidden: int, size: int, key: Key[Array, ""]):
        k_row, k_task = jax.random.split(key)
        n = 2 * observation_size(spec) + spec.action.size + 2
        self.row, self.task = (
            MLP(n, (hidden, hidden), size, k, jax.nn.relu, last_gain=1.0) for k in (k_row, k_task)
        )
        self.spec = spec

    def __call__(
        self, stored: Transition, seen: Transition, normaliser: Normaliser
    ) -> Float[Array, " stored"]:
        """Scores of stored rows [m], for a task of which rows [n] have been seen."""
        inputs = jax.vmap(lambda row: self.inputs(row, normaliser))
        z = jax.vmap(self.task)(inputs(seen)).mean(0)
        return jax.vmap(self.row)(inputs(stored)) @ z / z.shape[0] ** 0.5

    def inputs(self, row: Transition, normaliser: Normaliser) -> Float[Array, " n"]:
        """A transition as a vector at unit scale: what was, what was done, and what it changed."""
        x, next_x = normaliser.observation(row.obs), normaliser.observation(row.next_obs)
        rest = jnp.stack([row.reward, row.terminated.astype(jnp.float32)])
        return jnp.concatenate([x, next_x - x, encode_action(self.spec.action, row.action), rest])


def alignment(
    errors: Callable[[Any, Any], Float[Array, " rows"]], θ: Any, stored: Any, held: Any
) -> Float[Array, " stored"]:
    """a_i = ∇L(i; θ) · ∇L(D; θ), of the losses that `errors` tells of rows."""
    gradient = jax.grad(lambda θ: errors(θ, held).mean())(θ)
    # All dot products at once are one derivative in the direction of ∇L(D).
    return jax.jvp(lambda θ: errors(θ, stored), (θ,), (gradient,))[1]


def selector_loss(
    selector: Selector,
    stored: Transition,
    seen: Transition,
    normaliser: Normaliser,
    a: Float[Array, " stored"],
) -> Float[Array, ""]:
    """The squared error of the scores."""
    unit = jnp.sqrt((a**2).mean() + 1e-12)
    return ((selector(stored, seen, normaliser) - jnp.clip(a / unit, -MOST, MOST)) ** 2).mean()


class SelectorSteps(eqx.Module):
    """Adam's steps of the selector on the tasks that were just met, each as if it were the present one."""

    steps: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    """Of a task: those that the selector sees, and as many that tell what helped."""
    times: int = eqx.field(static=True)
    """Times as many stored rows are scored."""
    lr: Array

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.scale_by_adam()

    def __call__(
        self,
        selector: Selector,
        opt_state: Any,
        store: Buffer,
        tasks: Buffer,
        errors: Callable[[Any, Any], Float[Array, " rows"]],
        θ: Any,
        normaliser: Normaliser,
        key: Key[Array, ""],
    ) -> tuple[Selector, Any, Float[Array, ""]]:
        """`store`: as it was before the tasks, of which `tasks` is a stack. Returns the mean loss too."""

        def of_task(selector: Selector, task: Buffer, key: Key[Array, ""]) -> Array:
            k_stored, k_seen, k_held = jax.random.split(key, 3)
            stored = store.sample(k_stored, self.times * self.rows)
            a = alignment(errors, θ, stored, task.sample(k_held, self.rows))
            return selector_loss(selector, stored, task.sample(k_seen, self.rows), normaliser, a)

        def step(carry: Any, key: Key[Array, ""]) -> tuple[Any, Array]:
            selector, opt_state = carry
            each = jax.random.split(key, tasks.size.shape[0])
            mean = lambda selector: jax.vmap(of_task, (None, 0, 0))(selector, tasks, each).mean()  # noqa: E731
            loss, gradient = eqx.filter_value_and_grad(mean)(selector)
            direction, opt_state = self.optimizer.update(gradient, opt_state)
            # As long as nothing is stored there is nothing to be learned.
            rate = jnp.where(store.size > 0, self.lr, 0.0)
            return (eqx.apply_updates(selector, trees.scale(-rate, direction)), opt_state), loss

        steps = jax.random.split(key, self.steps)
        (selector, opt_state), losses = jax.lax.scan(step, (selector, opt_state), steps)
        return selector, opt_state, losses.mean()


def selected(
    selector: Selector,
    store: Buffer,
    seen: Transition,
    normaliser: Normaliser,
    n: int,
    times: int,
    τ: Float[Array, ""],
    key: Key[Array, ""],
) -> Transition:
    """n of `times` n stored rows, drawn uniformly: without replacement among these, by softmax(score/τ)."""
    k_draw, k_choose = jax.random.split(key)
    rows = store.sample(k_draw, times * n)
    score = selector(rows, seen, normaliser)
    # The n greatest of scores with Gumbel noise are such a draw.
    best = jax.lax.top_k(score / τ + jax.random.gumbel(k_choose, score.shape), n)[1]
    return trees.index(rows, best)
