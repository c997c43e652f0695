"""The jitted meta-update: learn ∘ collect ∘ behave, several in one dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.algorithms.base import Algorithm
from adaptax.collection.collect import collect
from adaptax.collection.few_shot import draw_few_shot
from adaptax.tasks.base import JaxFamily, Split, SupervisedFamily
from adaptax.types import Behaviour, FewShot, Layout, Lifetime, Metrics, Step, Task, TrainState

MOST_UPDATES = 64
"""Meta-updates that one dispatch may do; its metrics come back in a buffer of this length."""


class Dispatch(NamedTuple):
    """What one call of the program brings back."""

    state: TrainState
    metrics: Metrics
    """Each [MOST_UPDATES]; the first `done` entries count."""
    done: Array
    """int32, updates done: fewer than asked where one went wrong."""
    finite: Array
    """False where the last update tried gave a NaN or an infinity; `state` is the one before it."""


def draw_tasks(family: JaxFamily, key: Key[Array, ""], split: Split, number: int) -> Task:
    """`number` tasks of a split; task i depends on (key, split, i) alone."""
    key = jax.random.fold_in(key, ("train", "test", "ood").index(split))
    return jax.vmap(lambda i: family.sample(jax.random.fold_in(key, i), split))(jnp.arange(number))


def draw_training_tasks(family: JaxFamily, key: Key[Array, ""] | Key[Array, " B"], number: int) -> Task:
    """`number` training tasks, from one key or from a key each."""
    if key.ndim == 0:
        return draw_tasks(family, key, "train", number)
    return jax.vmap(lambda one: family.sample(jax.random.fold_in(one, 0), "train"))(key)


def lifetime_keys(key: Key[Array, ""], number: int) -> Key[Array, " B"]:
    """One key per task; that of task i depends on (key, i) alone."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(number))


def experience_metrics(rounds: Step, layout: Layout) -> Metrics:
    """Of Step[B, K, N, T]: environment steps, and the mean return of a stream in the last and in the first round."""
    returns = jnp.where(rounds.valid, rounds.reward, 0.0).sum(-1).mean((0, 2))
    metrics = {"env_steps": rounds.valid.sum(), "return": returns[-1]}
    if layout.rounds > 1:
        metrics["return_before_adaptation"] = returns[0]
    if rounds.success is not None:
        metrics["success"] = (rounds.success & rounds.valid).any(-1).mean((0, 2))[-1]
    return metrics


def behaviour_and_keys(
    algorithm: Algorithm, state: TrainState, draw: Callable[[Array], Task]
) -> tuple[Behaviour, Key[Array, " B"], Key[Array, ""]]:
    """What to collect with in this update, the tasks' keys, and the key of `learn`. `draw` takes one key, or one for each task."""
    key = lambda purpose: keys.update(state.key, state.updates, purpose)  # noqa: E731
    behaviour = algorithm.behave(state, key(keys.BEHAVE))
    if behaviour.tasks is None:
        tasks = draw(key(keys.TASKS) if behaviour.draws is None else behaviour.draws)
        behaviour = eqx.tree_at(lambda b: b.tasks, behaviour, tasks, is_leaf=lambda x: x is None)
    of_lifetimes = behaviour.keys
    if of_lifetimes is None:
        of_lifetimes = lifetime_keys(key(keys.LIFETIMES), algorithm.tasks)
    return behaviour, of_lifetimes, key(keys.LEARN)


def meta_update(
    algorithm: Algorithm, family: JaxFamily, state: TrainState
) -> tuple[TrainState, Metrics, Array]:
    """One meta-update on a JAX family: the next state, its metrics, and whether all of it is finite."""
    behaviour, task_keys, learn_key = behaviour_and_keys(
        algorithm, state, lambda key: draw_training_tasks(family, key, algorithm.tasks)
    )
    if isinstance(family, SupervisedFamily):
        data = draw_few_shot(family, behaviour.tasks, task_keys, "train")
    else:
        data, _, _ = collect(algorithm.collector, family, behaviour, algorithm.layout, task_keys)
    return learn(algorithm, state, data, learn_key)


def learn(
    algorithm: Algorithm, state: TrainState, lifetime: Lifetime | FewShot, key: Key[Array, ""]
) -> tuple[TrainState, Metrics, Array]:
    """`Algorithm.learn`, counted, with the metrics of the experience added."""
    after, metrics = algorithm.learn(state, lifetime, key)
    after = eqx.tree_at(lambda s: s.updates, after, state.updates + 1)
    if isinstance(lifetime, FewShot):
        metrics |= {"env_steps": lifetime.support.valid.sum() + lifetime.query.valid.sum()}
    else:
        metrics = experience_metrics(lifetime.rounds, algorithm.layout) | metrics
    return after, metrics, trees.all_finite((after, metrics))


def make_program(family: JaxFamily) -> Callable[[Algorithm, TrainState, Array], Dispatch]:
    """The jitted program (algorithm, state, count ≤ MOST_UPDATES) -> Dispatch of a JAX family.

    `count` is traced, so that any division of a run into dispatches is one executable.
    """

    def program(algorithm: Algorithm, state: TrainState, count: Array) -> Dispatch:
        shapes = jax.eval_shape(lambda s: meta_update(algorithm, family, s)[1], state)
        buffers = jax.tree.map(lambda m: jnp.zeros((MOST_UPDATES,), m.dtype), shapes)

        def go_on(carry: tuple[Any, ...]) -> Array:
            _, _, done, finite = carry
            return (done < count) & finite

        def update(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            state, buffers, done, _ = carry
            after, metrics, finite = meta_update(algorithm, family, state)
            buffers = jax.tree.map(lambda buffer, m: buffer.at[done].set(m), buffers, metrics)
            state = trees.where(finite, after, state)
            return state, buffers, done + finite, finite

        start = (state, buffers, jnp.zeros((), jnp.int32), jnp.array(True))
        return Dispatch(*jax.lax.while_loop(go_on, update, start))

    return jax.jit(program)
