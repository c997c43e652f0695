"""What a learner believes: one lifetime of a few tasks, looked into after every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from adaptax import keys
from adaptax.collection.collect import collect
from adaptax.collection.host import collect_host
from adaptax.collection.replay import replay_states
from adaptax.collection.workers import WorkerPool
from adaptax.evaluation.evaluate import EVALUATION_SEED, check_request, draw_host_tasks, test_tasks
from adaptax.evaluation.observations import keep, kept
from adaptax.learner import Learner
from adaptax.reports.summary import BeliefSummary
from adaptax.tasks.base import AnyFamily, HostFamily, Places, Split, SupervisedFamily, TaskFamily
from adaptax.training.program import lifetime_keys
from adaptax.training.run import Run
from adaptax.types import Behaviour, Layout, Lifetime, Theta

TASKS = 4
"""Tasks that reports draw."""


def observe_beliefs(
    run: Run,
    split: Split = "test",
    tasks: int = TASKS,
    episodes: int | None = None,
    *,
    modal: bool = False,
    seed: int = EVALUATION_SEED,
) -> BeliefSummary | None:
    """What a learner believes after every step of its first stream, on the first tasks that `evaluate` meets with this seed.

    None where it has no belief (`Learner.belief`), and for supervised tasks. Its dice are not those of the evaluation.
    """
    learner, theta, family = run.algorithm.learner, run.state.theta, run.family
    if isinstance(family, SupervisedFamily) or not has_belief(learner, theta):
        return None
    check_request(family.spec, split, tasks)
    layout = run.algorithm.test_layout(episodes)
    lifetime = _lifetimes(learner, theta, family, layout, split, tasks, modal, seed)
    places = jax.vmap(family.places)(lifetime.task) if isinstance(family, TaskFamily) else None
    beliefs, maps = _look(learner, theta, lifetime, layout, places)

    rows = jax.tree.map(lambda x: np.asarray(x[:, :, 0]), lifetime.rounds)  # [M, K, T, ...]
    flat = lambda x: np.asarray(x).reshape(tasks, layout.rounds * layout.steps, *x.shape[3:])  # noqa: E731
    return BeliefSummary(
        label=run.algorithm_name,
        split=split,
        beliefs=flat(beliefs),
        valid=flat(rows.valid),
        episode=flat(rows.episode),
        reward=flat(rows.reward),
        features=None if lifetime.features is None else np.asarray(lifetime.features),
        maps=None if maps is None else flat(maps),
        truth=None if maps is None or places is None else np.asarray(places.reward),
        where=None
        if maps is None or places is None
        else nearest(flat(rows.obs), np.asarray(places.next_obs)),
    )


def has_belief(learner: Learner, theta: Theta) -> bool:
    """Whether there is anything to look at; those who are told the task have nothing to guess."""
    if learner.told:
        return False

    def belief(theta: Theta) -> Array | None:
        fast = learner.begin(theta, jax.random.key(0), None)
        return learner.belief(theta, fast, learner.remember(theta))

    return eqx.filter_eval_shape(belief, theta) is not None


def nearest(obs: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Row and column [M, R, 2] of the place, of [M, rows, columns, ...], that looks most like each observation [M, R, ...]."""
    tasks, rows, columns = places.shape[:3]
    seen, listed = obs.reshape(tasks, obs.shape[1], 1, -1), places.reshape(tasks, 1, rows * columns, -1)
    index = ((seen - listed) ** 2).sum(-1).argmin(-1)
    return np.stack(np.divmod(index, columns), -1)


def keep_beliefs(
    directory: Path, run: Run, split: Split = "test", episodes: int | None = None, modal: bool = False
) -> None:
    """Observes a run's beliefs and keeps them in a folder, where there are any."""
    beliefs = observe_beliefs(run, split, episodes=episodes, modal=modal)
    if beliefs is not None:
        save_beliefs(directory, beliefs)


def save_beliefs(directory: Path, beliefs: BeliefSummary) -> None:
    """Keeps them beside the evaluations of the run in a folder, in DIR/evaluation/beliefs/SPLIT.safetensors."""
    keep(directory, "beliefs", beliefs)


def saved_beliefs(directory: Path) -> list[BeliefSummary]:
    """Those that were kept; AdaptaxError where a file is damaged or something else."""
    return [BeliefSummary(**fields) for fields in kept(directory, "beliefs")]


def _lifetimes(
    learner: Learner,
    theta: Theta,
    family: AnyFamily,
    layout: Layout,
    split: Split,
    number: int,
    modal: bool,
    seed: int,
) -> Lifetime:
    task_keys = lifetime_keys(keys.evaluation(jax.random.key(seed), keys.LIFETIMES), number)
    if isinstance(family, HostFamily):
        behaviour = Behaviour(theta, tasks=draw_host_tasks(family, split, number, seed))
        with WorkerPool(family) as pool:
            return collect_host(learner, family, behaviour, layout, task_keys, pool, modal)[0]
    behaviour = Behaviour(theta, tasks=test_tasks(family, split, number, seed))
    return _collect(learner, family, behaviour, layout, task_keys, modal)


@eqx.filter_jit
def _collect(learner, family, behaviour, layout, task_keys, modal):
    return collect(learner, family, behaviour, layout, task_keys, modal)[0]


@eqx.filter_jit
def _look(
    learner: Learner, theta: Theta, lifetime: Lifetime, layout: Layout, places: Places | None
) -> tuple[Any, Any]:
    """Beliefs [M, K, T, D] in the first stream, and maps [M, K, T, rows, columns] or None."""

    def one_task(lifetime: Lifetime, places: Places | None) -> Any:
        def read(fast: Any, memory: Any) -> tuple[Array | None, Array | None]:
            belief = learner.belief(theta, fast, memory)
            if places is None:
                return belief, None
            expected = lambda p: learner.expected_reward(theta, fast, memory, p.obs, p.action, p.next_obs)  # noqa: E731
            return belief, jax.vmap(jax.vmap(expected))(places)

        found = replay_states(learner, theta, lifetime, layout, read)
        return jax.tree.map(lambda x: x[:, 0], found)

    return jax.vmap(one_task)(lifetime, places)
