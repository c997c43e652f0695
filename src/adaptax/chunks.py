"""How the task axis is mapped: in chunks that fit the processor's cache, or whole on an accelerator.

The activations of all tasks at once leave a CPU's cache, and the elementwise work between the matrix products is then bound
by memory: a second-order meta-gradient over 40 tasks takes three to five times as long under one `vmap` as in chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from adaptax import trees
from adaptax.types import Metrics, Theta

T = TypeVar("T")

CACHE_FLOATS = 1 << 19
"""Floats of activations that one chunk may hold on a CPU (2 MB, about the second-level cache of two cores)."""


def chunk_size(tasks: int, floats_per_task: int) -> int:
    """How many tasks to map together: a divisor of `tasks`; all of them on an accelerator.

    `floats_per_task` is the size of one layer's activations for one task, rows × width.
    """
    if jax.default_backend() != "cpu":
        return tasks
    wanted = max(1, CACHE_FLOATS // max(1, floats_per_task))
    return max(d for d in range(1, tasks + 1) if tasks % d == 0 and d <= wanted)


def map_tasks(f: Callable, xs: PyTree, chunk: int) -> PyTree:
    """`jax.vmap(f)(xs)` over the leading task axis, `chunk` tasks at a time."""
    tasks = jax.tree.leaves(xs)[0].shape[0]
    return jax.vmap(f)(xs) if chunk >= tasks else jax.lax.map(f, xs, batch_size=chunk)


def mean_over_tasks(of_chunk: Callable[[PyTree], T], xs: PyTree, chunk: int) -> T:
    """The mean over tasks of what `of_chunk(x)` means over the tasks of one chunk; `chunk` divides their number.

    The results of a chunk are added up before the next begins, so memory does not grow with the number of tasks.
    """
    tasks = jax.tree.leaves(xs)[0].shape[0]
    if chunk >= tasks:
        return of_chunk(xs)
    if tasks % chunk:
        raise ValueError(f"mean_over_tasks: {tasks} tasks do not divide into chunks of {chunk}")
    n = tasks // chunk
    chunks = jax.tree.map(lambda leaf: leaf.reshape(n, chunk, *leaf.shape[1:]), xs)
    first = jax.eval_shape(of_chunk, trees.index(chunks, 0))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    total, _ = jax.lax.scan(lambda acc, x: (trees.add(acc, of_chunk(x)), None), zeros, chunks)
    return trees.scale(1.0 / n, total)


def mean_gradient(
    loss: Callable[[Theta, PyTree], tuple[Array, Metrics]], theta: Theta, xs: PyTree, chunk: int
) -> tuple[Theta, Metrics]:
    """∇_θ of the mean over tasks of `loss(θ, x)`, and the mean of its metrics, `chunk` tasks at a time."""

    def of_chunk(x):
        def mean_loss(theta):
            losses, metrics = jax.vmap(loss, (None, 0))(theta, x)
            return losses.mean(), jax.tree.map(jnp.mean, metrics)

        return jax.grad(mean_loss, has_aux=True)(theta)

    return mean_over_tasks(of_chunk, xs, chunk)
