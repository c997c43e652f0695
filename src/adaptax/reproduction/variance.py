"""How noisy a meta-gradient is under different inner surrogates: LVC, loaded DiCE, DiCE.

Rothfuss et al. 2019, §7: on HalfCheetah (forward or backward) the relative standard deviation of the meta-gradient is about
twice as large under DiCE as under LVC. Here: 2D navigation, after a little training.

All surrogates have the same gradient and differ in curvature alone, so that adaptation is the same under them, and so are the
lifetimes: each batch is judged by all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from adaptax import keys
from adaptax.algorithms.emaml import EMAML
from adaptax.algorithms.maml import MAML
from adaptax.chunks import chunk_size, mean_gradient
from adaptax.collection.collect import collect
from adaptax.outer.post_adaptation import clipped_objective
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.statistics import normal_interval
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.training.train import Report, train_or_resume
from adaptax.types import Behaviour

BATCHES = 200
UPDATES = 10
TASKS, HIDDEN = 20, (32, 32)
SURROGATES: dict[str, MAML | EMAML] = {
    "LVC": MAML(tasks=TASKS, hidden=HIDDEN),
    "loaded DiCE, λ = 0.5": EMAML(tasks=TASKS, hidden=HIDDEN, estimator="loaded-dice", dice_lambda=0.5),
    "loaded DiCE, λ = 0.9": EMAML(tasks=TASKS, hidden=HIDDEN, estimator="loaded-dice", dice_lambda=0.9),
    "DiCE": EMAML(tasks=TASKS, hidden=HIDDEN, estimator="dice"),
}
"""Whose learner's meta-gradient is looked at; the outer objective is MAML's for all, without credit for earlier rounds."""

Gradients = Float[np.ndarray, "batches parameters"]


def estimator_variance(directory: Path, report: Report) -> Outcome:
    """Trains MAML a little, and compares the meta-gradients of many batches of lifetimes there."""
    run = train_or_resume(SURROGATES["LVC"], PointNavigation(), UPDATES, 0, directory, report)
    gradients = meta_gradients(run.state.theta, BATCHES)
    rows, of_lvc = [], gradients["LVC"]
    for name, g in gradients.items():
        low, high = jackknife_interval(of_lvc, g)
        deviation, mean = np.linalg.norm(g.std(0, ddof=1)), np.linalg.norm(g.mean(0))
        ratio = relative_deviation(g) / relative_deviation(of_lvc)
        interval = "" if name == "LVC" else f"[{low:.2f}, {high:.2f}]"
        cells = (f"{deviation:.4f}", f"{mean:.4f}", f"{relative_deviation(g):.2f}", f"{ratio:.2f}", interval)
        rows.append((name, *cells))
    ratio = relative_deviation(gradients["DiCE"]) / relative_deviation(of_lvc)
    low, high = jackknife_interval(of_lvc, gradients["DiCE"])
    return Outcome(
        [
            Table(
                f"Noise of MAML's meta-gradient on 2D navigation, {BATCHES} batches of {TASKS} tasks",
                ("inner surrogate", "‖std‖", "‖mean‖", "‖std‖/‖mean‖", "times LVC's", "95% interval"),
                rows,
                f"After {UPDATES} meta-updates. Advantages over a linear baseline, standardised, under all of them; the same "
                "lifetimes. The ratio is without what noise adds to ‖mean‖; its interval is a jackknife's over batches.",
            )
        ],
        [
            Claim(
                f"DiCE's relative standard deviation is {ratio:.2f} times LVC's, 95% interval [{low:.2f}, {high:.2f}]: LVC's is "
                "lower (published, on HalfCheetah: about 2)",
                low > 1,
            )
        ],
        [directory],
    )


def meta_gradients(theta: Any, batches: int) -> dict[str, Gradients]:
    """At θ, of each surrogate on the same batches of lifetimes."""
    family = PointNavigation()
    algorithms = {name: config.build(family.spec) for name, config in SURROGATES.items()}

    @eqx.filter_jit
    def of_batch(algorithms: Mapping[str, Any], theta: Any, key: Any) -> dict[str, jax.Array]:
        first = algorithms["LVC"]
        tasks = draw_tasks(family, keys.evaluation(key, keys.TASKS), "train", first.tasks)
        task_keys = lifetime_keys(keys.evaluation(key, keys.LIFETIMES), first.tasks)
        lifetime = collect(first.learner, family, Behaviour(theta, tasks=tasks), first.layout, task_keys)[0]
        data = first.data(lifetime)
        params, frozen = eqx.partition(theta, first.learner.trainable(theta))
        chunk = chunk_size(first.tasks, first.floats_per_task)

        def gradient(algorithm: Any) -> jax.Array:
            loss = clipped_objective(algorithm.learner, algorithm.layout, frozen, algorithm.clip)
            return ravel_pytree(mean_gradient(loss, params, data, chunk)[0])[0]

        return {name: gradient(algorithm) for name, algorithm in algorithms.items()}

    each = [of_batch(algorithms, theta, jax.random.key(i)) for i in range(batches)]
    return {name: np.stack([np.asarray(g[name], np.float64) for g in each]) for name in SURROGATES}


def relative_deviation(gradients: Gradients) -> float:
    """‖std‖/‖mean‖ over parameters; ‖mean‖² without what noise adds to it, ‖std‖²/batches."""
    variance = gradients.var(0, ddof=1).sum()
    mean_squared = (gradients.mean(0) ** 2).sum() - variance / len(gradients)
    return float(np.sqrt(variance / max(mean_squared, 1e-30)))


def jackknife_interval(base: Gradients, other: Gradients) -> tuple[float, float]:
    """95% interval of the ratio of two relative deviations on the same batches: normal, of the jackknife's pseudo-values of its
    logarithm."""
    n = len(base)

    def log_ratio(kept: np.ndarray) -> float:
        return float(np.log(relative_deviation(other[kept]) / relative_deviation(base[kept])))

    whole = log_ratio(np.arange(n))
    without = np.array([log_ratio(np.delete(np.arange(n), i)) for i in range(n)])
    low, high = normal_interval(n * whole - (n - 1) * without)
    return float(np.exp(low)), float(np.exp(high))
