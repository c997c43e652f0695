"""Learned optimizers beside the hand-made ones: on functions to be minimised, and in place of the optimizer of a policy.

Every optimizer goes through the same code: the same random initial networks, the same tasks, the same gradients; only the update
rule differs. The hand-made ones are tuned on training tasks, each over `TRIALS` step sizes, for the very thing that is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax import keys, statistics, trees
from adaptax.adaptation.gradient import FromScratchLearner, GradientTheta
from adaptax.adaptation.update_rules import SGD, Adam, Momentum, RMSprop, UpdateRule
from adaptax.algorithms.l2o import L2O
from adaptax.chunks import map_tasks
from adaptax.collection.collect import collect_task
from adaptax.collection.few_shot import draw_few_shot, prediction_curve
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error
from adaptax.reproduction.outcome import Claim, Outcome, Table
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.tasks.base import Split, SupervisedFamily, TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.functions import Quadratic, Sinusoid
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.training.train import Report, train_or_resume
from adaptax.types import Fast, FewShot, Layout, Task

TRIALS = 20
"""Step sizes tried for each hand-made optimizer."""
TASKS = 100
"""Unseen tasks."""
TUNING_TASKS = 50
"""Training tasks on which step sizes are chosen."""
STEPS = 100
"""Of an optimization problem."""
SEED = 20_000

HAND_MADE: dict[str, tuple[Callable[[Array], UpdateRule], tuple[float, float]]] = {
    "SGD": (SGD, (1e-2, 3.0)),
    "momentum 0.9": (lambda lr: Momentum(lr, jnp.array(0.9)), (1e-3, 1.0)),
    "RMSprop": (lambda lr: RMSprop(lr, jnp.array(0.9)), (1e-3, 1.0)),
    "Adam": (lambda lr: Adam(lr, jnp.array(0.9), jnp.array(0.999)), (3e-3, 2.0)),
}
"""Rules by step size, and the range in which step sizes are tried, evenly on a logarithmic scale."""


# --- optimization ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Problem:
    """Functions to be minimised, and how optimizers of them are learned, with how many meta-updates."""

    name: str
    family: SupervisedFamily
    learned: dict[str, tuple[L2O, int]]


QUADRATICS = Problem(
    "random quadratics, 10 dimensions",
    Quadratic(),
    {
        "L2O, backpropagation": (
            L2O(tasks=128, hidden=(), horizon=STEPS, truncation=20, inner_lr=0.1, lr=3e-3), 500
        ),
        "L2O, persistent ES": (
            L2O(training="persistent-es", tasks=256, hidden=(), horizon=STEPS, truncation=20, inner_lr=0.1, lr=3e-3,
                optimizer_hidden=8),
            800,
        ),
    },
)  # fmt: skip
NETWORKS = Problem(
    "regression of sine waves, network 1-32-1",
    Sinusoid(shots=50, queries=50),
    {
        "L2O, backpropagation": (
            L2O(tasks=16, hidden=(32,), horizon=STEPS, truncation=20, inner_lr=0.12, lr=1e-3), 150
        ),
        "L2O, persistent ES": (
            L2O(training="persistent-es", tasks=64, hidden=(32,), horizon=STEPS, truncation=20, inner_lr=0.12, lr=1e-3,
                optimizer_hidden=8),
            150,
        ),
    },
)  # fmt: skip


@eqx.filter_jit
def loss_curves(
    learner: FromScratchLearner, theta: GradientTheta, family: SupervisedFamily, tasks: Task, task_keys: Array
) -> Float[Array, "M steps"]:
    """The mean error of each task's queries before the first step and after each of `STEPS`."""
    data = draw_few_shot(family, tasks, task_keys, "train")

    def one_task(data: FewShot) -> Array:
        outs = prediction_curve(learner, theta, data, STEPS)
        error = jax.vmap(jax.vmap(prediction_error), (0, None))(outs.dist, data.query.action)
        return jax.vmap(valid_mean, (0, None))(error, data.query.valid)

    return map_tasks(one_task, data, 25)


def optimization(directory: Path, report: Report) -> Outcome:
    """Loss curves of learned and tuned hand-made optimizers on unseen functions."""
    outcomes = [
        compare_on(problem, directory / part, report)
        for problem, part in ((QUADRATICS, "quadratics"), (NETWORKS, "networks"))
    ]
    first, second = outcomes
    return Outcome(first.tables + second.tables, first.claims + second.claims, first.folders + second.folders)


def compare_on(problem: Problem, directory: Path, report: Report) -> Outcome:
    family, curves, rows, claims, folders = problem.family, {}, [], [], []
    some = next(iter(problem.learned.values()))[0].build(family.spec).learner
    assert isinstance(some, FromScratchLearner)
    for name, (make, (low, high)) in HAND_MADE.items():

        def of(lr: float, split: Split, number: int, make: Any = make) -> np.ndarray:
            learner = with_rule(some, make(jnp.array(lr)))
            curve = loss_curves(
                learner, learner.init(jax.random.key(0)), family, *tasks_of(family, split, number)
            )
            # Divergence is the worst there is; in 64 bits its sums do not overflow.
            return np.nan_to_num(np.asarray(curve, np.float64), nan=np.inf, posinf=np.inf)

        trials = np.geomspace(low, high, TRIALS)
        best = min(trials, key=lambda lr: float(of(lr, "train", TUNING_TASKS)[:, 1:].mean()))
        curves[f"{name}, {best:.2g}"] = of(best, "test", TASKS)
    for name, (config, updates) in problem.learned.items():
        run = train_or_resume(config, family, updates, 0, directory / config.training, report)
        folders.append(run.directory)
        curve = loss_curves(run.algorithm.learner, run.state.theta, family, *tasks_of(family, "test", TASKS))  # type: ignore[arg-type]
        mean = np.asarray(curve)[:, 1:].mean(1)
        for other, hand_made in curves.items():
            if other in problem.learned:
                continue
            low, high = statistics.paired_interval(hand_made[None, :, 1:].mean(2), mean[None], "mean")
            claims.append(
                Claim(
                    f"{problem.name}: {name}: mean loss over {STEPS} steps lower than that of {other} by "
                    f"{hand_made[:, 1:].mean() - mean.mean():.4f}, interval [{low:.4f}, {high:.4f}]",
                    low > 0,
                )
            )
        curves[name] = np.asarray(curve)
    for name, curve in curves.items():
        low, high = statistics.interval(curve[None, :, 1:].mean(2), "mean")
        at = [f"{curve[:, k].mean():.4f}" for k in (10, 50, STEPS)]
        rows.append((name, *at, f"{curve[:, 1:].mean():.4f}", f"[{low:.4f}, {high:.4f}]"))
    table = Table(
        title=f"{problem.name}: mean loss on {TASKS} unseen functions",
        header=("optimizer, step size", "10 steps", "50 steps", f"{STEPS} steps", f"mean of {STEPS}", "95% interval of it"),
        rows=rows,
        note=f"Step sizes are the best of {TRIALS} on {TUNING_TASKS} training functions for the mean over {STEPS} steps, which "
        "is what the learned optimizers are trained for too.",
    )  # fmt: skip
    return Outcome([table], claims, folders)


# --- control -----------------------------------------------------------------------------------------------


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


CONTROLS = {
    "bandits": Control(
        "Bernoulli bandits, 5 arms", BernoulliBandit(),
        L2O(tasks=128, streams=10, horizon=12, truncation=12, hidden=(), inner_lr=1.0, late=0.5, entropy=0.2,
            optimizer_hidden=16),
        updates=120, tasks=2000, tuning_tasks=500, rounds=31, probes=100, trials=(0.05, 5.0),
    ),
    "navigation": Control(
        "2D navigation", PointNavigation(), L2O(),
        updates=30, tasks=100, tuning_tasks=30, rounds=16, probes=10, trials=(0.01, 1.0),
    ),
    "cartpole": Control(
        "CartPole of 100 steps", CartPole(horizon=100),
        L2O(streams=4, horizon=15, truncation=15, inner_lr=0.1, lr=3e-3, entropy=0.05),
        updates=25, tasks=100, tuning_tasks=30, rounds=16, probes=10, trials=(0.01, 0.5),
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


def control(directory: Path, report: Report) -> Outcome:
    """Episodes until a random policy is as good as nine tenths of the oracle, under the learned optimizer and the tuned Adam."""
    rows, claims, folders = [], [], []
    for part, problem in CONTROLS.items():
        found, claim, folder = compare_in(problem, directory / part, report)
        rows += found
        claims.append(claim)
        folders.append(folder)
    table = Table(
        title=f"Episodes of a new task to {SHARE:.0%} of the way from random to the oracle's return",
        header=("", "episodes", "95% interval", "tasks that reach it", "return at the end", "oracle"),
        rows=rows,
        note="From a random policy, with a new round of episodes before each step. Adam's step size is the best of "
        f"{TRIALS} for the same number on training tasks. Unseen tasks: "
        + ", ".join(f"{p.tasks:,} ({p.name}; {p.config.streams} episodes a round)" for p in CONTROLS.values())
        + ". A task that never gets there counts as all the episodes that it was given.",
    )
    return Outcome([table], claims, folders)


def compare_in(
    problem: Control, directory: Path, report: Report
) -> tuple[list[tuple[str, ...]], Claim, Path]:
    family, config = problem.family, problem.config
    run = train_or_resume(config, family, problem.updates, 0, directory, report)
    tuning = problem.tuning_tasks
    learner, theta = run.algorithm.learner, run.state.theta
    assert isinstance(learner, FromScratchLearner) and run.directory is not None

    def returns_of(rule: UpdateRule | None, split: Split, number: int) -> np.ndarray:
        """Under the learned optimizer, or another in its place; observations are scaled alike."""
        of = learner if rule is None else with_rule(learner, rule)
        its = theta if rule is None else eqx.tree_at(lambda t: t.rule, theta, None)
        return np.asarray(
            policy_returns(of, its, family, problem, *tasks_of(family, split, number)), np.float64
        )

    def adam(lr: float) -> UpdateRule:
        return Adam(jnp.array(lr), jnp.array(0.9), jnp.array(0.999))

    def oracle(split: Split, number: int) -> np.ndarray:
        tasks, _ = tasks_of(family, split, number)
        return np.asarray(jax.vmap(lambda task: family.optimal(task))(tasks), np.float64)

    def tuning_score(lr: float) -> float:
        returns = returns_of(adam(lr), "train", tuning)
        ceiling = oracle("train", tuning)
        return float(episodes_to_share(returns, returns[:, 0], ceiling, config.streams)[0].mean())

    best = min(np.geomspace(*problem.trials, TRIALS), key=tuning_score)
    curves = {
        "L2O": returns_of(None, "test", problem.tasks),
        f"Adam {best:.2g}": returns_of(adam(best), "test", problem.tasks),
    }
    random = np.mean([curve[:, 0] for curve in curves.values()], axis=0)
    ceiling, rows, episodes = oracle("test", problem.tasks), [], []
    for name, curve in curves.items():
        taken, reached = episodes_to_share(curve, random, ceiling, config.streams)
        low, high = statistics.interval(taken[None], "mean")
        cells = (
            f"{taken.mean():.1f}",
            f"[{low:.1f}, {high:.1f}]",
            f"{reached.mean():.0%}",
            f"{curve[:, -1].mean():.2f}",
        )
        rows.append((f"{problem.name}: {name}", *cells, f"{ceiling.mean():.2f}"))
        episodes.append(taken)
    fewer = (episodes[1] - episodes[0]).mean()
    low, high = statistics.paired_interval(episodes[1][None], episodes[0][None], "mean")
    rows.append(
        (f"{problem.name}: Adam minus L2O", f"{fewer:+.1f}", f"[{low:+.1f}, {high:+.1f}]", "", "", "")
    )
    claim = Claim(
        f"{problem.name}: L2O needs {fewer:.1f} episodes fewer than the tuned Adam, interval [{low:.1f}, {high:.1f}]",
        low > 0,
    )
    return rows, claim, run.directory


# --- both --------------------------------------------------------------------------------------------------


def with_rule(learner: FromScratchLearner, rule: UpdateRule) -> FromScratchLearner:
    """The same learner with another update rule."""
    return dataclasses.replace(learner, rule=rule)


def tasks_of(family: Any, split: Split, number: int) -> tuple[Task, Array]:
    """Tasks and their keys, the same for every optimizer."""
    key = jax.random.key(SEED)
    return draw_tasks(family, keys.evaluation(key, keys.TASKS), split, number), lifetime_keys(
        keys.evaluation(key, keys.LIFETIMES), number
    )
