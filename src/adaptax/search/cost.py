"""What a learner costs where it is used: its parameters, and the seconds of an adaptation and of an action."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from adaptax import keys
from adaptax.collection.agent import first_state
from adaptax.collection.few_shot import draw_few_shot
from adaptax.learner import QUERY_AXIS
from adaptax.tasks.base import SupervisedFamily
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.training.run import Run
from adaptax.trees import index

BLOCK_SECONDS = 0.02
"""About how long one block of repetitions takes; the quickest of `BLOCKS` counts, which other work disturbed least."""
BLOCKS = 5


def parameters(run: Run) -> int:
    """Numbers that meta-training learns."""
    theta = run.state.theta
    return sum(x.size for x in jax.tree.leaves(eqx.filter(theta, run.algorithm.learner.trainable(theta))))


def latency(run: Run) -> tuple[float, float]:
    """Milliseconds of one adaptation of one task, and microseconds of one action or prediction, compiled, without its transfer.

    On rows of zeros: the time does not depend on what they hold.
    """
    learner, theta, key = run.algorithm.learner, run.state.theta, jax.random.key(0)
    if isinstance(run.family, SupervisedFamily):
        family = run.family
        shapes = jax.eval_shape(
            lambda: draw_few_shot(family, draw_tasks(family, key, "train", 1), lifetime_keys(key, 1), "train")
        )
        data = jax.tree.map(_zeros, shapes)
        batch, step = jax.tree.map(lambda x: x[:1], data.support), index(data.query, (0, 0))
        fast, memory = learner.begin(theta, keys.begin(key), None), learner.remember(theta)
    else:
        state = first_state(learner, run.algorithm.test_layout(None), run.spec, theta, key)
        fast, memory = state.fast, index(state.memory, 0)
        batch, step = state.rows, index(state.rows, (0, 0))

    def act(learner, theta, fast, memory, step, key):
        # Mapped over one example under the name that a transductive network normalises over.
        say = lambda step: learner.act(theta, fast, memory, step, key)  # noqa: E731
        out, after = jax.vmap(say, axis_name=QUERY_AXIS)(jax.tree.map(lambda x: x[None], step))
        return out.dist, after

    def adapt(learner, theta, fast, batch, key):
        return learner.adapt(theta, fast, batch, key)

    in_adapting = _seconds(adapt, learner, theta, fast, batch, key)
    return 1e3 * in_adapting, 1e6 * _seconds(act, learner, theta, fast, memory, step, key)


def _zeros(shape: Any) -> Any:
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), shape.shape)
    return jnp.ones(shape.shape, bool) if shape.dtype == bool else jnp.zeros(shape.shape, shape.dtype)


def _seconds(f: Callable, *inputs: Any) -> float:
    """Of one call of f, compiled."""
    run = eqx.filter_jit(f)

    def block(n: int) -> float:
        started = time.perf_counter()
        for _ in range(n):
            out = run(*inputs)
        jax.block_until_ready(out)
        return time.perf_counter() - started

    block(1)  # compiles
    n = max(1, int(BLOCK_SECONDS / max(block(1), 1e-6)))
    return min(block(n) for _ in range(BLOCKS)) / n
