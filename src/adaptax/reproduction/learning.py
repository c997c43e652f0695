"""Learning results: that a method adapts, shown as DESIGN asks for.

At least five seeds meet at least 100 unseen tasks; adapted minus unadapted, and adapted minus the multi-task learner, must have
95% intervals above zero.
"""

from __future__ import annotations

import math
from pathlib import Path

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.algorithms.multi_task import MultiTask
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.tasks.base import AnyFamily
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume

SEEDS = 5


def train_as_long(
    family: AnyFamily,
    env_steps: int,
    seed: int,
    directory: Path,
    report: Report,
    config: Config = MultiTask(),  # noqa: B008 (frozen)
) -> Run:
    """A method, the multi-task learner unless told, trained for whole meta-updates until it has had at least `env_steps`."""
    algorithm = config.build(family.spec)
    layout = algorithm.layout
    most = algorithm.tasks * layout.rounds * layout.streams * layout.steps
    updates = math.ceil(env_steps / most)
    while True:
        run = train_or_resume(config, family, updates, seed, directory, report)
        if run.env_steps >= env_steps or run.updates < updates:  # there, or interrupted
            return run
        # Episodes that end early grow longer while it learns: half of what the rest would take at the present rate.
        rate = run.env_steps / run.updates
        updates += max(1, math.ceil((env_steps - run.env_steps) / min(most, 2.0 * rate)))


def learning_result(
    label: str,
    config: Config,
    family: AnyFamily,
    updates: int,
    directory: Path,
    report: Report,
    tasks: int = 100,
    episodes: int | None = None,
) -> Outcome:
    """Trains five seeds of a method and of the multi-task learner (as many environment steps), and compares them."""
    runs = [
        train_or_resume(config, family, updates, seed, directory / label / f"seed-{seed}", report)
        for seed in range(SEEDS)
    ]
    baselines = [
        train_as_long(family, run.env_steps, run.seed, directory / "multi-task" / f"seed-{run.seed}", report)
        for run in runs
    ]
    result = evaluate(runs, "test", tasks, episodes, label=label)
    compromise = evaluate(baselines, "test", tasks, 1)
    for run in runs:
        assert run.directory is not None
    result.save(directory / label / "evaluation" / "test.safetensors")

    curve = result.curve()
    unadapted, adapted = curve[:, :, 0], curve[:, :, -1]
    alone = compromise.curve()[:, :, 0]
    rows, claims = [], []
    for name, other in (("its unadapted self", unadapted), ("the multi-task learner", alone)):
        low, high = statistics.paired_interval(adapted, other, "mean")
        gain = (adapted - other).mean()
        rows.append((f"minus {name}", f"{gain:+.2f}", f"[{low:+.2f}, {high:+.2f}]"))
        claims.append(
            Claim(f"{label}: adapted beats {name} by {gain:.2f}, interval [{low:.2f}, {high:.2f}]", low > 0)
        )
    levels = (("unadapted", unadapted), ("adapted", adapted), ("multi-task", alone))
    table = Table(
        title=f"{label} on {family.spec.name}: return of an episode, {SEEDS} seeds × {tasks} unseen tasks",
        columns=("", "mean", "95% interval"),
        rows=[
            *(
                (name, f"{x.mean():.2f}", "[{:.2f}, {:.2f}]".format(*statistics.interval(x, "mean")))
                for name, x in levels
            ),
            *rows,
        ],
        note=f"Adapted: after {result.consumed()[-1]:,.0f} environment steps of the new task.",
    )
    folders = [run.directory for run in (*runs, *baselines) if run.directory is not None]
    return Outcome([table], claims, folders)
