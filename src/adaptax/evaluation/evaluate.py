"""One evaluator for all families: unseen tasks, counted per task and per episode."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from adaptax import keys, trees
from adaptax.chunks import chunk_size, map_tasks
from adaptax.collection.collect import collect_task
from adaptax.collection.few_shot import draw_few_shot, prediction_curve
from adaptax.collection.host import collect_host
from adaptax.collection.workers import WorkerPool, exit_if_unguarded
from adaptax.errors import AdaptaxError
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_score
from adaptax.evaluation.result import Evaluation
from adaptax.learner import Learner
from adaptax.tasks.base import SPLITS, AnyFamily, HostFamily, JaxFamily, Split, SupervisedFamily, TaskFamily
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.training.run import Run
from adaptax.types import Behaviour, Fast, FewShot, Layout, Spec, Step, Task, Theta

T = TypeVar("T")

EVALUATION_SEED = 20_000
"""Tasks are drawn with this key unless another is given: all methods meet the same ones."""
CHUNK_FLOATS = 1 << 24
"""Floats of experience that one chunk of tasks may hold while it is evaluated."""
CHANNELS = 16
"""Floats that a network's widest layer may make of an entry of an observation: of an image's, 64 at a quarter of the positions."""


def evaluate(
    runs: Run | Sequence[Run],
    split: Split = "test",
    tasks: int = 100,
    episodes: int | None = None,
    *,
    family: AnyFamily | None = None,
    layout: Layout | None = None,
    modal: bool = False,
    seed: int = EVALUATION_SEED,
    label: str | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Meets `tasks` unseen tasks of a split (all, if there are fewer) with one trained learner, or with several that differ in
    their seed.

    `episodes`: about how many episodes each task is given (None: the algorithm's habit). `layout` says exactly how each is
    met, in whole episodes (None: as the algorithm does with so many). `family` replaces the one trained on.
    All methods given the same `seed` meet the same tasks. `report(done, total)` is called after each run.
    """
    exit_if_unguarded()
    runs = [runs] if isinstance(runs, Run) else list(runs)
    if not runs or not all(isinstance(run, Run) for run in runs):
        raise AdaptaxError(
            "Evaluate what ax.train or ax.load gave, one or several: ax.evaluate(ax.load(DIR))."
        )
    family = runs[0].family if family is None else family
    spec = family.spec
    check_request(spec, split, tasks)
    least = 0 if spec.supervised else 1  # adaptation steps may be none
    if episodes is not None and episodes < least:
        raise AdaptaxError(f"episodes must be {least} or more, not {episodes}.")
    layout = layout or runs[0].algorithm.test_layout(episodes)
    started = time.perf_counter()
    host = isinstance(family, HostFamily)
    drawn = draw_host_tasks(family, split, tasks, seed) if host else test_tasks(family, split, tasks, seed)
    if isinstance(family, SupervisedFamily) and family.all_tasks(split) is not None:
        tasks = len(jax.tree.leaves(drawn)[0])  # there may be fewer than asked for
    per_seed = []
    for i, run in enumerate(runs):
        learner, theta = run.algorithm.learner, run.state.theta
        task_keys = evaluation_keys(seed, run.seed, tasks)
        play = play_host if host else partial(play_few_shot, split=split) if spec.supervised else play_jax
        per_seed.append(play(learner, theta, family, layout, drawn, task_keys, modal))  # type: ignore[arg-type]
        report(i + 1, len(runs))
    returns, lengths, successes = zip(*per_seed, strict=True)
    return Evaluation(
        label=label or runs[0].algorithm_name,
        family=spec.name,
        split=split,
        actions="modal" if modal else "sampled",
        shared_tasks=spec.shared_tasks,
        returns=np.stack(returns),
        lengths=np.stack(lengths),
        successes=None if successes[0] is None else np.stack(successes),
        optimal=optimal_returns(family, drawn, tasks),
        measure=spec.measure,
        transductive=runs[0].algorithm.learner.transductive,
        seconds=time.perf_counter() - started,
        peak_megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        training_env_steps=[run.env_steps for run in runs],
        training_seconds=[run.seconds for run in runs],
    )


def check_request(spec: Spec, split: str, tasks: int) -> None:
    """AdaptaxError where a split or a number of tasks makes no sense."""
    if split not in SPLITS:
        raise AdaptaxError(f"There is no split '{split}'; choose one of {', '.join(SPLITS)}.")
    if split == "ood" and not spec.ood:
        raise AdaptaxError(
            f"The family '{spec.name}' has no out-of-distribution tasks; choose train or test."
        )
    if tasks < 1:
        raise AdaptaxError(f"tasks must be 1 or more, not {tasks}.")


def play_jax(
    learner: Learner,
    theta: Theta,
    family: TaskFamily,
    layout: Layout,
    tasks: Any,
    task_keys: Any,
    modal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return, length and success [M, K, N, E] of every episode."""
    floats = layout.rounds * layout.streams * layout.steps * (8 + 2 * int(np.prod(family.spec.observation)))
    number = task_keys.shape[0]
    chunk = int(np.clip(CHUNK_FLOATS // floats, 1, number))
    parts = _play(learner, theta, family, layout, tasks, task_keys, modal, chunk)
    return tuple(None if part is None else np.asarray(part) for part in parts)  # type: ignore[return-value]


@eqx.filter_jit
def _play(learner, theta, family, layout, tasks, task_keys, modal, chunk):
    def episodes(rounds, fast):
        return per_episode(rounds, layout)

    return of_lifetimes(episodes, learner, theta, family, layout, tasks, task_keys, modal, chunk)


def of_lifetimes(
    measure: Callable[[Step, Fast], T],
    learner: Learner,
    theta: Theta,
    family: TaskFamily,
    layout: Layout,
    tasks: Any,
    task_keys: Any,
    modal: bool,
    chunk: int,
) -> T:
    """What `measure` makes of each task's Step[K, N, T] and of the fast state that it ends in: leaves [M, ...]."""

    def one_task(inputs):
        task, key = inputs
        features = family.features(task) if learner.told else None
        fast = learner.begin(theta, keys.begin(key), features)
        rounds, fast, _ = collect_task(learner, family, theta, fast, task, layout, key, modal)
        return measure(rounds, fast)

    return map_tasks(one_task, (tasks, task_keys), chunk)


def play_few_shot(
    learner: Learner,
    theta: Theta,
    family: SupervisedFamily,
    layout: Layout,
    tasks: Any,
    task_keys: Any,
    modal: bool,
    split: Split,
) -> tuple[np.ndarray, np.ndarray, None]:
    """Score of the queries [M, K, 1, 1] before adaptation to the support and after each, and lengths of 1."""
    scores = np.asarray(_ask(learner, theta, family, layout.rounds - 1, tasks, task_keys, split))
    return scores[:, :, None, None], np.ones((*scores.shape, 1, 1)), None


@eqx.filter_jit
def _ask(learner, theta, family, adaptations, tasks, task_keys, split):
    data = draw_few_shot(family, tasks, task_keys, split)

    def one_task(data: FewShot):
        outs, _ = prediction_curve(learner, theta, data, adaptations)
        score = jax.vmap(jax.vmap(prediction_score), (0, None))(outs.dist, data.query.action)
        return jax.vmap(valid_mean, (0, None))(score, data.query.valid)

    queries = data.query.obs.shape[1]
    most = int(np.clip(1000 // queries + 1, 1, len(task_keys)))
    of_network = CHANNELS * queries * int(np.prod(family.spec.observation))
    return map_tasks(one_task, data, min(most, chunk_size(len(task_keys), of_network)))


def per_episode(rounds: Step, layout: Layout) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return, length and success [K, N, E] of the episodes in Step[K, N, T].

    An episode is what one value of `Step.episode` marks within a round; nothing is pooled, and none is stopped early. Where the
    environment goes on across rounds they are read as one, K = 1.
    """
    episodes = layout.episodes
    assert episodes is not None, "evaluation counts whole episodes"
    if layout.carry:
        rounds = jax.tree.map(
            lambda x: jnp.moveaxis(x, 1, 0).reshape(1, layout.streams, -1, *x.shape[3:]), rounds
        )

    def stream(steps: Step):
        index = steps.episode - steps.episode[0]
        # Invalid rows count for no episode, nor do those of one that nobody asked for.
        index = jnp.where(steps.valid, jnp.minimum(index, episodes), episodes)
        sums = lambda x: jax.ops.segment_sum(x, index, episodes + 1)[:-1]  # noqa: E731
        success = None if steps.success is None else sums(steps.success.astype(jnp.int32)) > 0
        return sums(steps.reward), sums(jnp.ones_like(index)), success

    return jax.vmap(jax.vmap(stream))(rounds)


def play_host(
    learner: Learner,
    theta: Theta,
    family: HostFamily,
    layout: Layout,
    tasks: list[Any],
    task_keys: Any,
    modal: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """As `play_jax`, with the environments in worker processes, a few tasks at a time."""
    parts = []
    with WorkerPool(family) as pool:
        size = max(1, 256 // layout.streams)
        for i in range(0, len(tasks), size):
            behaviour = Behaviour(theta, tasks=tasks[i : i + size])
            lifetime, _, _ = collect_host(
                learner, family, behaviour, layout, task_keys[i : i + size], pool, modal
            )
            parts.append(_per_episode_of_tasks(lifetime.rounds, layout))
    return tuple(
        None if part[0] is None else np.concatenate([np.asarray(p) for p in part])
        for part in zip(*parts, strict=True)
    )  # type: ignore[return-value]


@eqx.filter_jit
def _per_episode_of_tasks(rounds, layout):
    return jax.vmap(lambda r: per_episode(r, layout))(rounds)


def test_tasks(family: JaxFamily, split: Split, number: int, seed: int) -> Task:
    """The tasks of a JAX family that every evaluation with this seed meets; of listed tasks each once, however few there are."""
    key = keys.evaluation(jax.random.key(seed), keys.TASKS)
    listed = family.all_tasks(split) if isinstance(family, SupervisedFamily) else None
    if listed is None:
        return draw_tasks(family, key, split, number)
    order = jax.random.permutation(key, jax.tree.leaves(listed)[0].shape[0])
    return trees.index(listed, order[:number])


def evaluation_keys(seed: int, run_seed: int, number: int) -> Key[Array, " M"]:
    """The keys of the lifetimes that the learner of one seed has with them: each learner has its own dice."""
    return lifetime_keys(keys.evaluation(jax.random.key(seed), keys.LIFETIMES, run_seed), number)


def draw_host_tasks(family: HostFamily, split: Split, number: int, seed: int) -> list[Any]:
    """`number` tasks of a host family; task i depends on (seed, split, i) alone."""
    return [
        family.sample(np.random.default_rng([seed, SPLITS.index(split), i]), split) for i in range(number)
    ]


def optimal_returns(family: AnyFamily, tasks: Any, number: int) -> np.ndarray | None:
    """The best expected return of an episode of each task [M], where the family knows it."""
    if isinstance(family, SupervisedFamily):
        return None
    if isinstance(family, HostFamily):
        values = [family.optimal(task) for task in tasks]
        return None if values[0] is None else np.asarray(values, np.float64)
    values = jax.vmap(lambda task: family.optimal(task))(tasks)
    return None if values is None else np.asarray(values, np.float64)
