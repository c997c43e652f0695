"""Learned optimizers beside the hand-made ones, on functions to be minimised: random quadratics and small networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptax import statistics
from adaptax.adaptation.gradient import FromScratchLearner, GradientTheta
from adaptax.adaptation.update_rules import UpdateRule
from adaptax.algorithms.l2o import L2O
from adaptax.algorithms.l2o_es import EvolvedL2O
from adaptax.chunks import map_tasks
from adaptax.collection.few_shot import draw_few_shot, prediction_curve
from adaptax.estimators.returns import valid_mean
from adaptax.estimators.supervised import prediction_error
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.learned_optimizers import HAND_MADE, TRIALS, best_step_size, tasks_of, with_rule
from adaptax.tasks.base import Split, SupervisedFamily
from adaptax.tasks.functions import Quadratic, Sinusoid
from adaptax.training.train import Report, train_or_resume
from adaptax.types import FewShot, Task

TASKS = 100
"""Unseen functions."""
TUNING_TASKS = 50
"""Training functions on which step sizes are chosen."""
STEPS = 100
SEEDS = 5
"""Of the training of an optimizer."""
RANGES = {"SGD": (1e-2, 3.0), "momentum 0.9": (1e-3, 1.0), "RMSprop": (1e-3, 1.0), "Adam": (3e-3, 2.0)}
"""In which step sizes are tried."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Functions to be minimised, and how optimizers of them are learned, with how many meta-updates."""

    name: str
    family: SupervisedFamily
    learned: dict[str, tuple[L2O | EvolvedL2O, int]]
    minutes: int


PROBLEMS = {
    "quadratics": Problem(
        "random quadratics, 10 dimensions",
        Quadratic(),
        {
            "l2o": (L2O(tasks=128, hidden=(), horizon=STEPS, truncation=20, inner_lr=0.1, lr=3e-3), 500),
            "l2o-es": (EvolvedL2O(tasks=256, hidden=(), horizon=STEPS, truncation=20, inner_lr=0.1, lr=3e-3), 800),
        },
        minutes=8,
    ),
    "networks": Problem(
        "regression of sine waves, network 1-32-1",
        Sinusoid(shots=50, queries=50),
        {
            "l2o": (L2O(hidden=(32,), horizon=STEPS, truncation=20, inner_lr=0.12, lr=4e-3), 300),
            "l2o-es": (EvolvedL2O(hidden=(32,), horizon=STEPS, truncation=20, inner_lr=0.12, lr=1e-3), 1500),
        },
        minutes=8,
    ),
}  # fmt: skip


@eqx.filter_jit
def loss_curves(
    learner: FromScratchLearner, theta: GradientTheta, family: SupervisedFamily, tasks: Task, task_keys: Array
) -> Float[Array, "M steps"]:
    """The mean error of each task's queries before the first step and after each of `STEPS`."""
    data = draw_few_shot(family, tasks, task_keys, "train")

    def one_task(data: FewShot) -> Array:
        outs, _ = prediction_curve(learner, theta, data, STEPS)
        error = jax.vmap(jax.vmap(prediction_error), (0, None))(outs.dist, data.query.action)
        return jax.vmap(valid_mean, (0, None))(error, data.query.valid)

    return map_tasks(one_task, data, 25)


def loss_on_the_way(problem: Problem, directory: Path, report: Report) -> Outcome:
    """Loss curves of learned and tuned hand-made optimizers on unseen functions."""
    family, folders = problem.family, []

    def curves_of(learner: FromScratchLearner, theta: GradientTheta, split: Split, number: int) -> np.ndarray:
        curve = loss_curves(learner, theta, family, *tasks_of(family, split, number))
        # Divergence is the worst there is; in 64 bits its sums do not overflow.
        return np.nan_to_num(np.asarray(curve, np.float64), nan=np.inf, posinf=np.inf)

    def tuned(make: Callable[[Array], UpdateRule], low: float, high: float) -> tuple[float, np.ndarray]:
        """The best step size, and the curves under it [1, M, steps]."""
        some = next(iter(problem.learned.values()))[0].learner(family.spec, 0)

        def curves(lr: float, split: Split, number: int) -> np.ndarray:
            learner = with_rule(some, make(jnp.array(lr)))
            return curves_of(learner, learner.init(jax.random.key(0)), split, number)

        best = best_step_size(low, high, lambda lr: float(curves(lr, "train", TUNING_TASKS)[:, 1:].mean()))
        return best, curves(best, "test", TASKS)[None]

    hand_made, learned = {}, {}
    for name, make in HAND_MADE.items():
        best, curves = tuned(make, *RANGES[name])
        hand_made[f"{name}, {best:.2g}"] = curves
    for name, (config, updates) in problem.learned.items():
        runs = [
            train_or_resume(config, family, updates, seed, directory / name / f"seed-{seed}", report)
            for seed in range(SEEDS)
        ]
        folders += [run.directory for run in runs if run.directory]
        learned[name] = np.stack(
            [curves_of(run.algorithm.learner, run.state.theta, "test", TASKS) for run in runs]  # type: ignore[arg-type]
        )
    rows, claims = [], []
    for name, curve in (hand_made | learned).items():
        mean = curve[:, :, 1:].mean(2)
        low, high = statistics.interval(mean, "mean")
        at = [f"{curve[:, :, k].mean():.4f}" for k in (10, 50, STEPS)]
        by_seed = ", ".join(f"{x:.4f}" for x in mean.mean(1)) if name in learned else ""
        rows.append((name, *at, f"{mean.mean():.4f}", f"[{low:.4f}, {high:.4f}]", by_seed))
        if name not in learned:
            continue
        for other, its in hand_made.items():
            theirs = np.broadcast_to(its[:, :, 1:].mean(2), mean.shape)
            low, high = statistics.paired_interval(theirs, mean, "mean")
            claims.append(
                Claim(
                    f"{problem.name}: {name}: mean loss over {STEPS} steps lower than that of {other} by "
                    f"{(theirs - mean).mean():.4f}, interval [{low:.4f}, {high:.4f}]",
                    low > 0,
                )
            )
    table = Table(
        title=f"{problem.name}: mean loss on {TASKS} unseen functions",
        columns=(
            "optimizer, step size", "10 steps", "50 steps", f"{STEPS} steps", f"mean of {STEPS}", "95% interval of it",
            "by training seed",
        ),
        rows=rows,
        note=f"Step sizes are the best of {TRIALS} on {TUNING_TASKS} training functions for the mean over {STEPS} steps, which "
        f"is what the learned optimizers are trained for too; {SEEDS} of each.",
    )  # fmt: skip
    return Outcome([table], claims, folders)
