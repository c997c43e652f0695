"""A learned optimizer in the place of the optimizer of a policy: episodes that a random policy needs, beside the tuned Adam."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax import keys, statistics, trees
from adaptax.adaptation.gradient import FromScratchLearner, GradientTheta
from adaptax.algorithms.l2o import L2O
from adaptax.chunks import map_tasks
from adaptax.collection.collect import collect_task
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.learned_optimizers import HAND_MADE, TRIALS, best_step_size, tasks_of, with_rule
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume
from adaptax.types import Fast, Layout, Task

SEEDS = 5
"""Of the training of an optimizer."""


@dataclasses.dataclass(frozen=True)
class Control:
    """A family of environments on which an optimizer of policies is learned."""

    name: str
    family: TaskFamily
    config: L2O
    updates: int
    tasks: int
    """Unseen ones."""
    tuning_tasks: int
    """Training tasks on which Adam's step size is chosen."""
    rounds: int
    """In a new task; the policy before the first adaptation is that of round 0."""
    probes: int
    """Episodes in which a policy is measured. They are not counted, and the learner does not see them."""
    trials: tuple[float, float]
    """The range of Adam's step sizes."""
    minutes: int


CONTROLS = {
    "bandits": Control(
        "Bernoulli bandits, 5 arms", BernoulliBandit(),
        L2O(tasks=128, streams=10, horizon=12, truncation=12, hidden=(), inner_lr=1.0, late=0.5, entropy=0.2,
            optimizer_hidden=16),
        updates=120, tasks=2000, tuning_tasks=500, rounds=31, probes=100, trials=(0.05, 5.0), minutes=8,
    ),
    "navigation": Control(
        "2D navigation", PointNavigation(), L2O(),
        updates=30, tasks=100, tuning_tasks=100, rounds=16, probes=10, trials=(0.01, 1.0), minutes=8,
    ),
    "cartpole": Control(
        "CartPole of 100 steps", CartPole(horizon=100),
        L2O(streams=4, horizon=15, truncation=15, inner_lr=0.1, lr=3e-3, entropy=0.05),
        updates=80, tasks=100, tuning_tasks=150, rounds=16, probes=10, trials=(0.01, 0.5), minutes=8,
    ),
}  # fmt: skip
SHARE = 0.9
"""Of the way from the random policy's return to the oracle's."""


@eqx.filter_jit
def policy_returns(
    learner: FromScratchLearner,
    theta: GradientTheta,
    family: TaskFamily,
    control: Control,
    tasks: Task,
    task_keys: Array,
) -> Float[Array, "M rounds"]:
    """The mean return of each round's policy in `probes` episodes beside those that it is adapted with."""
    streams = control.config.streams
    layout = Layout(1, streams + control.probes, family.spec.episode_steps, episodes=1)

    def one_task(inputs: tuple[Task, Key[Array, ""]]) -> Array:
        task, key = inputs

        def one_round(fast: Fast, k: Array) -> tuple[Fast, Array]:
            round_key = jax.random.fold_in(key, k)
            rows = collect_task(learner, family, theta, fast, task, layout, round_key, False)[0]
            rows = trees.index(rows, 0)
            returns = jnp.where(rows.valid, rows.reward, 0.0).sum(-1)
            fast = learner.adapt(theta, fast, trees.index(rows, slice(streams)), keys.adapt(round_key, 0))
            return fast, returns[streams:].mean()

        return jax.lax.scan(
            one_round, learner.begin(theta, keys.begin(key), None), jnp.arange(control.rounds)
        )[1]

    return map_tasks(one_task, (tasks, task_keys), 25)


def episodes_to_share(
    returns: Float[np.ndarray, "M rounds"],
    random: Float[np.ndarray, " M"],
    oracle: Float[np.ndarray, " M"],
    streams: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(episodes[M], reached[M]): how many each task took until a policy earned `SHARE` of the way from the random policy's
    return to the oracle's; all that there were, where none did."""
    there = returns >= (random + SHARE * (oracle - random))[:, None]
    reached = np.asarray(there.any(1))
    return np.where(reached, there.argmax(1), returns.shape[1]) * float(streams), reached


def episodes_needed(problem: Control, directory: Path, report: Report) -> Outcome:
    """Episodes until a random policy is as good as nine tenths of the oracle, under the learned optimizer and the tuned Adam."""
    family, streams, number = problem.family, problem.config.streams, problem.tasks
    runs = [
        train_or_resume(problem.config, family, problem.updates, seed, directory / f"seed-{seed}", report)
        for seed in range(SEEDS)
    ]

    def returns_of(run: Run, lr: float | None, split: Split, number: int) -> np.ndarray:
        """Under the learned optimizer, or Adam in its place; observations are scaled alike."""
        learner, theta = run.algorithm.learner, run.state.theta
        assert isinstance(learner, FromScratchLearner)
        if lr is not None:
            learner = with_rule(learner, HAND_MADE["Adam"](jnp.array(lr)))
            theta = eqx.tree_at(lambda t: t.rule, theta, None)
        tasks = tasks_of(family, split, number)
        return np.asarray(policy_returns(learner, theta, family, problem, *tasks), np.float64)

    def oracle(split: Split, number: int) -> np.ndarray:
        tasks, _ = tasks_of(family, split, number)
        return np.asarray(jax.vmap(lambda task: family.optimal(task))(tasks), np.float64)

    def tuning_cost(lr: float) -> float:
        returns = returns_of(runs[0], lr, "train", problem.tuning_tasks)
        ceiling = oracle("train", problem.tuning_tasks)
        return float(episodes_to_share(returns, returns[:, 0], ceiling, streams)[0].mean())

    best = best_step_size(*problem.trials, tuning_cost)
    curves = {
        name: [returns_of(run, lr, "test", number) for run in runs]
        for name, lr in (("L2O", None), (f"Adam {best:.2g}", best))
    }
    random = np.mean([curve[:, 0] for members in curves.values() for curve in members], axis=0)
    ceiling, rows, episodes = oracle("test", number), [], []
    for name, members in curves.items():
        taken, reached = map(
            np.stack, zip(*(episodes_to_share(c, random, ceiling, streams) for c in members), strict=True)
        )
        low, high = statistics.interval(taken, "mean")
        end = np.mean([curve[:, -1].mean() for curve in members])
        by_seed = ", ".join(f"{x:.1f}" for x in taken.mean(1)) if name == "L2O" else ""
        rows.append(
            (
                name,
                f"{taken.mean():.1f}",
                f"[{low:.1f}, {high:.1f}]",
                by_seed,
                f"{reached.mean():.0%}",
                f"{end:.2f}",
            )
        )
        episodes.append(taken)
    low, high = statistics.paired_interval(episodes[1], episodes[0], "mean")
    fewer = (episodes[1] - episodes[0]).mean()
    rows.append(("Adam minus L2O", f"{fewer:+.1f}", f"[{low:+.1f}, {high:+.1f}]", "", "", ""))
    rows.append(("oracle", "", "", "", "", f"{ceiling.mean():.2f}"))
    table = Table(
        title=f"{problem.name}: episodes of a new task to {SHARE:.0%} of the way from random to the oracle's return",
        columns=(
            "",
            "episodes",
            "95% interval",
            "by training seed",
            "tasks that reach it",
            "return at the end",
        ),
        rows=rows,
        note=f"{SEEDS} trained optimizers × {number:,} unseen tasks, from a random policy, with a new round of {streams} episodes "
        f"before each step. Adam's step size is the best of {TRIALS} for the same number on training tasks. A task that never "
        "gets there counts as all the episodes that it was given.",
    )
    claim = Claim(
        f"{problem.name}: L2O needs {fewer:.1f} episodes fewer than the tuned Adam, interval [{low:.1f}, {high:.1f}]",
        low > 0,
    )
    return Outcome([table], [claim], [run.directory for run in runs if run.directory])
