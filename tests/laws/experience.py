"""Lifetimes for the laws: collected, or made by a plain loop."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from laws.learners import TASKS, Case

from adaptax import keys, trees
from adaptax.collection.collect import collect
from adaptax.networks.encoding import zero_action
from adaptax.tasks.base import TaskFamily, to_environment
from adaptax.types import Behaviour, Layout, Lifetime


@eqx.filter_jit
def draw(family: TaskFamily) -> tuple[Any, Any]:
    """Tasks [B] and their keys [B]."""
    tasks = jax.vmap(lambda key: family.sample(key, "train"))(jax.random.split(jax.random.key(1), TASKS))
    return tasks, jax.random.split(jax.random.key(2), TASKS)


@eqx.filter_jit
def collected_on(learner, family, theta, layout, tasks, task_keys) -> Lifetime:
    return collect(learner, family, Behaviour(theta, tasks=tasks), layout, task_keys)[0]


def collected(case: Case, layout: Layout) -> Lifetime:
    """The lifetimes of B tasks under `case.theta`."""
    return collected_on(case.learner, case.family, case.theta, layout, *draw(case.family))


def mapped(f: Any, axes: int) -> Any:
    """`f`, under as many `vmap`s."""
    for _ in range(axes):
        f = jax.vmap(f)
    return f


# --- a plain loop --------------------------------------------------------------------------------

_reset = eqx.filter_jit(lambda family, key, task: family.reset(key, task))
_step = eqx.filter_jit(
    lambda family, key, state, action, task: family.step(
        key, state, to_environment(family.spec.action, action), task
    )
)
_row_key = jax.jit(
    lambda key, k, n, t, purpose: keys.row(keys.stream(key, k, n), t, purpose), static_argnums=4
)
_mask = eqx.filter_jit(lambda family, state, task: family.action_mask(state, task))


def stream_rows(
    family: TaskFamily, task: Any, layout: Layout, actions: np.ndarray, task_key: Any, n: int
) -> list[list[dict[str, Any] | None]]:
    """What stream n must hold, [K][T] rows, when these actions [K, T] are taken; None where it stands still."""
    prev_action, prev_reward, episode = np.asarray(zero_action(family.spec.action)), 0.0, 0
    state, first, rounds = None, True, []
    for k in range(layout.rounds):
        if k == 0 or not layout.carry:
            if not first:
                episode += 1  # the border cut it off
            state, obs = _reset(family, _row_key(task_key, k, n, 0, keys.RESET), task)
            first, elapsed = True, 0
        rows, finished = [], 0
        for t in range(layout.steps):
            if finished == layout.episodes:
                rows.append(None)
                continue
            seen = {
                "obs": obs, "prev_action": prev_action, "prev_reward": prev_reward, "first": first, "episode": episode,
                "action_mask": _mask(family, state, task),
            }  # fmt: skip
            action = actions[k, t]
            state, outcome = _step(family, _row_key(task_key, k, n, t, keys.STEP), state, action, task)
            elapsed += 1
            terminated = bool(outcome.terminated)
            truncated = not terminated and (bool(outcome.truncated) or elapsed == family.spec.episode_steps)
            rows.append(
                seen | {
                    "action": action, "reward": outcome.reward, "terminated": terminated, "truncated": truncated,
                    "success": outcome.success, "next_obs": outcome.obs,
                }
            )  # fmt: skip
            obs, prev_action, prev_reward, first = outcome.obs, action, outcome.reward, False
            if terminated or truncated:
                finished, episode, first, elapsed = finished + 1, episode + 1, True, 0
                state, obs = _reset(family, _row_key(task_key, k, n, t + 1, keys.RESET), task)
        rounds.append(rows)
    return rounds


def one_task(lifetime: Lifetime, i: int) -> Lifetime:
    return trees.index(lifetime, i)


def garbage_in_invalid_rows(lifetime: Lifetime) -> Lifetime:
    """The same lifetime with nonsense wherever a row is not valid."""
    rows = lifetime.rounds

    def spoil(x):
        mask = jnp.expand_dims(rows.valid, tuple(range(4, x.ndim)))
        wrong = ~x if x.dtype == bool else jnp.zeros_like(x) if x.dtype == jnp.int32 else 7.0 - 3.0 * x
        return jnp.where(mask, x, wrong)

    spoiled = jax.tree.map(spoil, rows)
    return eqx.tree_at(
        lambda life: life.rounds, lifetime, eqx.tree_at(lambda r: r.valid, spoiled, rows.valid)
    )
