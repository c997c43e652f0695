"""Which of many stored transitions are as if of the present task: a selector that learns to foresee it.

Old experience can be replayed as the present task's own where it is weighed by how much more probable it is there than in the
store (Fakoor et al. 2020, Meta-Q-learning, arXiv 1910.00125, §4, who fit a logistic regression to each task). Here one network
learns that ratio over all past tasks, and so knows it of a new one after a few transitions: it scores row i by s_i = f(i) · z, z
the mean of g on the rows that the task has shown, and is trained to tell the task's rows ⁺ from the store's ⁻,

    min  E log(1 + exp(−s⁺)) + E log(1 + exp(s⁻)),       at which  s_i = log p(i | task) / p(i | store).

It is stepped on the tasks that were just met, meta-update after meta-update, and so knows the ratio as well as what was seen of a
task foretells. Rows are drawn from the store by softmax(s/τ) without replacement among a few times as many, so that they are of
many kinds; where the task's own kind is rarer than one in so many, others are drawn too.
"""

from __future__ import annotations

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
        """A transition as a vector: what was, at unit scale, what was done, what it changed, and what it paid."""
        x, next_x = normaliser.observation(row.obs), normaliser.observation(row.next_obs)
        rest = jnp.stack([row.reward, row.terminated.astype(jnp.float32)])
        return jnp.concatenate([x, next_x - x, encode_action(self.spec.action, row.action), rest])


def selector_loss(
    selector: Selector, seen: Transition, task: Transition, stored: Transition, normaliser: Normaliser
) -> Float[Array, ""]:
    """Cross-entropy, nats, of telling rows of the `task` from those `stored`, for which it is told what has been `seen` of it."""
    of_task, of_store = (selector(rows, seen, normaliser) for rows in (task, stored))
    return jax.nn.softplus(-of_task).mean() + jax.nn.softplus(of_store).mean()


class SelectorSteps(eqx.Module):
    """Adam's steps of the selector on the tasks that were just met, each as if little of it were known yet."""

    steps: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    """Drawn of what a task has shown, of the rest of it, and of the store."""
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
        normaliser: Normaliser,
        key: Key[Array, ""],
    ) -> tuple[Selector, Any, Float[Array, ""]]:
        """`store`: as it was before the tasks, of which `tasks` is a stack, rows in their order. Returns the mean loss too."""

        def of_task(selector: Selector, task: Buffer, key: Key[Array, ""]) -> Array:
            k_until, k_seen, k_task, k_store = jax.random.split(key, 4)
            # Of every two rows one may have been seen, until some moment, and the other is to be known for the task's: at use
            # no stored row is among those seen.
            last = jnp.maximum(task.size - 1, 0)
            until = jax.random.randint(k_until, (), 1, jnp.maximum(task.size, 1) + 1)
            seen = 2 * jax.random.randint(k_seen, (self.rows,), 0, (until + 1) // 2)
            other = 2 * jax.random.randint(k_task, (self.rows,), 0, jnp.maximum(task.size // 2, 1)) + 1
            seen, of_task = (trees.index(task.rows, jnp.minimum(i, last)) for i in (seen, other))
            stored = store.sample(k_store, self.rows)
            return selector_loss(selector, seen, of_task, stored, normaliser)

        def step(carry: Any, key: Key[Array, ""]) -> tuple[Any, Array]:
            selector, opt_state = carry
            each = jax.random.split(key, tasks.size.shape[0])
            mean = lambda selector: jax.vmap(of_task, (None, 0, 0))(selector, tasks, each).mean()  # noqa: E731
            loss, gradient = eqx.filter_value_and_grad(mean)(selector)
            direction, after = self.optimizer.update(gradient, opt_state)
            stepped = eqx.apply_updates(selector, trees.scale(-self.lr, direction)), after
            # As long as nothing is stored there is nothing to be learned.
            return trees.where(store.size > 0, stepped, (selector, opt_state)), loss

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
    """n of `times` n stored rows, drawn uniformly: without replacement among these, by softmax(score/τ).

    With replacement the few of the greatest ratios would be drawn again and again.
    """
    k_draw, k_choose = jax.random.split(key)
    rows = store.sample(k_draw, times * n)
    score = selector(rows, seen, normaliser)
    # The n greatest of scores with Gumbel noise are such a draw.
    best = jax.lax.top_k(score / τ + jax.random.gumbel(k_choose, score.shape), n)[1]
    return trees.index(rows, best)
