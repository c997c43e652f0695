"""What the tests of the families with hidden physics share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)


def draw(family, split, n, key=KEY):
    """Tasks [n] of a split."""
    return jax.jit(jax.vmap(lambda k: family.sample(k, split)))(jax.random.split(key, n))


def one(tasks, i):
    return jax.tree.map(lambda leaf: leaf[i], tasks)


def changed(task, **values):
    """The same task with other physics."""
    return type(task)(**{**vars(task), **{k: jnp.array(v, jnp.float32) for k, v in values.items()}})


def roll(family, controller, tasks, seed=1):
    """An episode of each task under `controller`(state, task) -> action: (return, steps, terminated), each [n]."""

    def episode(task, key):
        def row(carry, _):
            state, alive, total = carry
            state, outcome = family.step(key, state, controller(state, task), task)
            return (state, alive & ~outcome.terminated, total + alive * outcome.reward), alive

        begun = (family.reset(key, task)[0], jnp.array(True), jnp.zeros(()))
        (_, alive, total), rows = jax.lax.scan(row, begun, length=family.horizon)
        return total, rows.sum(), ~alive

    keys = jax.random.split(jax.random.key(seed), len(jax.tree.leaves(tasks)[0]))
    return [np.asarray(x) for x in jax.jit(jax.vmap(episode))(tasks, keys)]
