"""Model-based meta-RL beside model-free methods, planners beside one another, and a model that remembers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adaptax import statistics
from adaptax.adaptation.dynamics_model import model_rows
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.mrlm import MRLM
from adaptax.algorithms.rebal import ReBAL
from adaptax.algorithms.rl2 import RL2
from adaptax.estimators.returns import valid_mean
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import TASKS, Method, difference, in_words, trained
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.reproduction.lifetimes import on_unseen_tasks
from adaptax.tasks.base import TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.mountain_car import MountainCarContinuous
from adaptax.tasks.pendulum import Pendulum
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.run import Run
from adaptax.training.train import Report
from adaptax.types import Layout

# --- beside model-free methods -------------------------------------------------------------------

EPISODES = 2
"""Of the new task: one to get to know it, and one that counts."""
TIMES = (1, 10, 40)
"""As many times the environment steps of MRLM the others are trained with."""
RIVALS = {"rl2": RL2(tasks=16, episodes=EPISODES), "maml": MAML(tasks=10, streams=4)}
MODEL_TASKS = 30
"""Unseen tasks on which the model's error is measured, for each seed."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """A model-based learner on a family, and the model-free ones beside it."""

    family: TaskFamily
    method: Method
    times: tuple[int, ...] = TIMES


PENDULUM = Learning(Pendulum(), Method("mrlm", MRLM(), 5))
NAVIGATION = Learning(PointNavigation(), Method("mrlm", MRLM(tasks=32, explore=1.0), 5), times=(1, 10))
"""A goal in the plane takes many goals to learn from, and a first episode that shows where it is."""
CAR = Learning(
    MountainCarContinuous(horizon=300), Method("mrlm", MRLM(horizon=40, smoothness=0.9), 6), times=(1, 10)
)


def compared(problem: Learning, directory: Path, report: Report) -> Outcome:
    """Return before and after adaptation: of MRLM, the multi-task learner, and RL² and MAML that have seen as much, and more."""
    family, name = problem.family, problem.method.name
    runs = trained(problem.method, family, directory, report)
    result = evaluate(runs, "test", TASKS, EPISODES, label=name)
    result.save(directory / name / "evaluation" / "test.safetensors")
    curve = result.curve()
    adapted = curve[:, :, -1]
    before, after = model_errors(runs, family)
    shown = [row(name, runs, curve, result.consumed(), (f"{before:.3f}", f"{after:.3f}", ""))]
    folders = [run.directory for run in runs if run.directory]

    def beside(label: str, times: int, **how: Any) -> np.ndarray:
        # Trainings of their own for each length: one that has gone on cannot be asked again what it was.
        folder = directory / (label if times == 1 else f"{label}-{times}-times")
        members = [
            train_as_long(family, times * run.env_steps, run.seed, folder / f"seed-{run.seed}", report, **how)
            for run in runs
        ]
        found = evaluate(members, "test", TASKS, None if label == "maml" else EPISODES, label=label)
        lead = in_words(difference(adapted, found.curve()[:, :, -1]))
        shown.append(row(label, members, found.curve(), found.consumed(), ("", "", lead)))
        if times == 1:
            folders.extend(run.directory for run in members if run.directory)
        return found.curve()[:, :, -1]

    compromise = beside("multi-task", 1)
    rivals = {
        (label, times): beside(label, times, config=config)
        for label, config in RIVALS.items()
        for times in problem.times
    }
    table = Table(
        f"{family.spec.name}: return of an episode, {SEEDS} seeds × {TASKS} unseen tasks",
        (
            "",
            "training steps",
            "unadapted",
            "adapted",
            "steps used",
            "model error",
            "fitted",
            f"lead of {name}",
        ),
        shown,
        "Steps used: of the new task, before the episode that counts. Model error: mean squared error of the next observation and "
        "reward on the second episode, in units of their variances, before and after the fit to the first. Lead: with its 95% "
        "interval, over the learner's adapted return.",
    )
    gains = {
        "its unadapted self": difference(adapted, curve[:, :, 0]),
        "the multi-task learner": difference(adapted, compromise),
    }
    words = " and ".join(f"{other} by {in_words(gain)}" for other, gain in gains.items())
    claims = [Claim(f"{name}: adapted it beats {words}", min(low for _, low, _ in gains.values()) > 0)]
    tried = " and ".join(map(str, problem.times))
    for label in RIVALS:
        reached = [t for t in problem.times if difference(rivals[label, t], adapted)[2] >= 0]
        said = f"only with {reached[0]} times" if reached else f"not even with {problem.times[-1]} times"
        claims.append(
            Claim(
                f"{label} comes up to {name} {said} as many environment steps (tried: {tried} times)",
                not reached or reached[0] >= 10,
            )
        )
    return Outcome([table], claims, folders)


def row(
    label: str, runs: Sequence[Run], curve: np.ndarray, consumed: np.ndarray, rest: tuple[str, ...]
) -> tuple[str, ...]:
    """Of the table: a learner at one length of training."""
    steps = float(np.mean([run.env_steps for run in runs]))
    adapted = curve[:, :, -1]
    low, high = statistics.interval(adapted, "mean")
    unadapted = f"{curve[:, :, 0].mean():.1f}" if curve.shape[2] > 1 else ""
    return (
        label,
        f"{steps:,.0f}",
        unadapted,
        f"{adapted.mean():.1f} [{low:.1f}, {high:.1f}]",
        f"{consumed[-1]:,.0f}",
        *rest,
    )


def model_errors(runs: Sequence[Run], family: TaskFamily) -> tuple[float, float]:
    """Mean squared error on a task's second episode of the model before and after its fit to the first one."""

    def errors(learner, theta, rounds, fast):
        row, valid = jax.tree.map(lambda x: x[1, 0], (model_rows(rounds), rounds.valid))

        def error(networks):
            one = lambda network, row: learner.model.squared_error(network, theta.scales, row)  # noqa: E731
            members = lambda row: jax.vmap(one, (0, None))(networks, row).mean()  # noqa: E731
            return valid_mean(jax.vmap(members)(row), valid)

        return error(theta.networks), error(fast.networks)

    layout = Layout(2, 1, family.spec.episode_steps, episodes=1)
    before, after = on_unseen_tasks(errors, runs, family, layout, MODEL_TASKS)
    return float(before.mean()), float(after.mean())


def mrlm_pendulum(directory: Path, report: Report) -> Outcome:
    return compared(PENDULUM, directory, report)


def mrlm_navigation(directory: Path, report: Report) -> Outcome:
    return compared(NAVIGATION, directory, report)


def mrlm_car(directory: Path, report: Report) -> Outcome:
    return compared(CAR, directory, report)


# --- planners beside one another -----------------------------------------------------------------

POLES = CartPole(horizon=200)
SHOOTING = Method("mrlm", MRLM(planner="shooting"), 10)
PLANNERS: dict[str, dict[str, Any]] = {
    "shooting": {},
    "gumbel": {"planner": "gumbel"},
    "stochastic": {"planner": "stochastic"},
}
"""What they change. For a real step shooting imagines 1,280 steps, the Gumbel tree 1,440, and the stochastic tree 1,360."""


def mrlm_tree_search(directory: Path, report: Report) -> Outcome:
    """One and the same model, meta-trained with shooting, and several ways to plan with it on unseen poles."""
    runs = trained(SHOOTING, POLES, directory, report)
    curves, shown = {}, []
    for name, changes in PLANNERS.items():
        config = dataclasses.replace(SHOOTING.config, **changes)  # type: ignore[type-var]
        planning = [dataclasses.replace(run, config=config, _algorithm=None) for run in runs]
        result = evaluate(planning, "test", TASKS, EPISODES, label=name)
        result.save(directory / "mrlm" / "evaluation" / f"{name}.safetensors")
        curve = curves[name] = result.curve()
        low, high = statistics.interval(curve[:, :, -1], "mean")
        lead = (
            "" if name == "shooting" else in_words(difference(curve[:, :, -1], curves["shooting"][:, :, -1]))
        )
        adapted = f"{curve[:, :, -1].mean():.1f} [{low:.1f}, {high:.1f}]"
        seconds = 1000 * result.seconds / result.lengths.sum()
        shown.append((name, f"{curve[:, :, 0].mean():.1f}", adapted, lead, f"{seconds:.2f}"))
    steps = float(np.mean([run.env_steps for run in runs]))
    table = Table(
        f"CartPole with hidden physics, at most 200 steps: planners, {SEEDS} seeds × {TASKS} unseen tasks",
        ("", "unadapted", "adapted", "minus shooting", "ms a step"),
        shown,
        f"The same models, after {steps:,.0f} steps of meta-training. Return of an episode, before and after one episode of the "
        "task; with 95% intervals. Time includes compiling.",
    )
    claims = []
    for name, curve in curves.items():
        if name != "shooting":
            lead = difference(curve[:, :, -1], curves["shooting"][:, :, -1])
            claims.append(Claim(f"{name}: adapted it beats shooting by {in_words(lead)}", lead[1] > 0))
        gain = difference(curve[:, :, -1], curve[:, :, 0])
        claims.append(
            Claim(f"mrlm by {name}: adapted it beats its unadapted self by {in_words(gain)}", gain[1] > 0)
        )
    return Outcome([table], claims, [run.directory for run in runs if run.directory])


# --- a model that remembers ------------------------------------------------------------------------

RECURRENT = Method("rebal", ReBAL(), 8)
MEMORYLESS = Method("rebal-memoryless", ReBAL(memory=0), 8)
"""The same training with nothing remembered: what a model of all tasks at once is worth to the same planner."""


def rebal_learns(directory: Path, report: Report) -> Outcome:
    """ReBAL on pendulums, beside the same trained without a memory, and the multi-task learner.

    It adapts from step to step, so that its first episode is no measure of what it would be unadapted.
    """
    family = PENDULUM.family
    runs, memoryless = (trained(method, family, directory, report) for method in (RECURRENT, MEMORYLESS))
    alone = [
        train_as_long(family, run.env_steps, run.seed, directory / "multi-task" / f"seed-{run.seed}", report)
        for run in runs
    ]
    result = evaluate(runs, "test", TASKS, EPISODES, label=RECURRENT.name)
    result.save(directory / RECURRENT.name / "evaluation" / "test.safetensors")
    curve, adapted = result.curve(), result.curve()[:, :, -1]
    blank = evaluate(memoryless, "test", TASKS, EPISODES, label=MEMORYLESS.name).curve()
    compromise = evaluate(alone, "test", TASKS, 1, label="multi-task").curve()
    others = {
        "the same trained without memory": blank[:, :, -1],
        "the multi-task learner": compromise[:, :, 0],
    }
    levels = {"first episode": curve[:, :, 0], f"episode {EPISODES}": adapted} | others
    steps = float(np.mean([run.env_steps for run in runs]))
    table = Table(
        f"rebal on {family.spec.name}: return of an episode, {SEEDS} seeds × {TASKS} unseen tasks",
        ("", "mean", "95% interval"),
        [
            (name, f"{x.mean():.1f}", "[{:.1f}, {:.1f}]".format(*statistics.interval(x, "mean")))
            for name, x in levels.items()
        ],
        f"After {steps:,.0f} steps of meta-training. Without memory: the same objective, number of steps, network and planner, and "
        f"no unit in the GRU; its episode {EPISODES}.",
    )
    gains = {other: difference(adapted, x) for other, x in others.items()}
    claims = [
        Claim(f"rebal: adapted it beats {other} by {in_words(g)}", g[1] > 0) for other, g in gains.items()
    ]
    folders = [run.directory for run in (*runs, *memoryless, *alone) if run.directory]
    return Outcome([table], claims, folders)
