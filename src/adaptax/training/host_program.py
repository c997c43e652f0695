"""The meta-update on a host family: environments step in worker processes, everything else is jitted."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from adaptax.algorithms.base import Algorithm
from adaptax.collection.host import collect_host
from adaptax.collection.workers import WorkerPool
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import HostFamily
from adaptax.training.program import MOST_UPDATES, Dispatch, behaviour_and_keys, learn
from adaptax.types import Metrics, TrainState


class HostProgram:
    """Called as the jitted program of a JAX family is; holds the worker processes until `close`."""

    def __init__(self, family: HostFamily):
        self._family = family
        self._pool = WorkerPool(family)
        self._learn = eqx.filter_jit(learn)
        self._failed: AdaptaxError | None = None

    def __call__(self, algorithm: Algorithm, state: TrainState, count: Array) -> Dispatch:
        """`count` meta-updates, or fewer where one went wrong."""
        if self._failed is not None:
            raise self._failed
        rows: list[Metrics] = []
        done, finite = 0, jnp.array(True)
        while done < count and finite:
            behaviour, task_keys, key = behaviour_and_keys(
                algorithm, state, lambda k: draw_from_key(self._family, k, algorithm.tasks)
            )
            try:
                lifetime, _, _ = collect_host(
                    algorithm.collector, self._family, behaviour, algorithm.layout, task_keys, self._pool
                )
            except AdaptaxError as error:
                if not done:
                    raise
                self._failed = error  # told by the next call: the updates before it are not to be lost
                break
            after, metrics, finite = self._learn(algorithm, state, lifetime, key)
            rows.append(metrics)
            if finite:
                state, done = after, done + 1
        empty = [0.0] * (MOST_UPDATES - len(rows))
        metrics = {name: jnp.array([row[name] for row in rows] + empty) for name in (rows[0] if rows else {})}
        return Dispatch(state, metrics, jnp.array(done, jnp.int32), finite)

    def close(self) -> None:
        """Ends the worker processes."""
        self._pool.close()


def draw_from_key(family: HostFamily, key: Key[Array, ""] | Key[Array, " B"], number: int) -> list[Any]:
    """`number` training tasks; the generator of task i is seeded by the key and i alone, or by its own key."""
    words = np.asarray(jax.random.key_data(key)).tolist()
    seeds = [[*words, i] for i in range(number)] if key.ndim == 0 else words
    return [family.sample(np.random.default_rng(seed), "train") for seed in seeds]
