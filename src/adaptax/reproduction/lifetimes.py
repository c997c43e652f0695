"""What is measured in lifetimes on unseen tasks, where the returns of episodes do not say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

from adaptax.evaluation.evaluate import EVALUATION_SEED, evaluation_keys, of_lifetimes, test_tasks
from adaptax.learner import Learner
from adaptax.tasks.base import TaskFamily
from adaptax.training.run import Run
from adaptax.types import Fast, Layout, Step, Theta


def on_unseen_tasks(
    measure: Callable[[Learner, Theta, Step, Fast], Any],
    runs: Sequence[Run],
    family: TaskFamily,
    layout: Layout,
    tasks: int,
) -> Any:
    """Leaves [seeds, tasks, ...] of NumPy: what `measure` makes of learner, theta, Step[K, N, T] and the fast state at last.

    The tasks, and the learners' dice, are those of `evaluate`.
    """
    met = test_tasks(family, "test", tasks, EVALUATION_SEED)

    @eqx.filter_jit
    def measured(learner, theta, task_keys):
        of_one = partial(measure, learner, theta)
        return of_lifetimes(of_one, learner, theta, family, layout, met, task_keys, False, tasks)

    found = [
        measured(run.algorithm.learner, run.state.theta, evaluation_keys(EVALUATION_SEED, run.seed, tasks))
        for run in runs
    ]
    return jax.tree.map(lambda *seeds: np.stack(seeds), *found)
