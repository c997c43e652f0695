"""Total reward of a lifetime: learners that remember beside reference policies, on the same unseen tasks.

Every seed that was trained is reported, the best of them nowhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import difference, in_words
from adaptax.reproduction.learning import train_as_long
from adaptax.tasks.base import AnyFamily
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume

ENOUGH_STEPS = 2_000_000
"""Environment steps after which the multi-task learner stands still on bandits and tabular MDPs."""


@dataclasses.dataclass(frozen=True)
class Learner:
    """A method with its training."""

    config: Config
    updates: int
    goal: float | None = None
    """What it is to earn."""
    seeds: int = 1
    """Trainings."""

    def with_seeds(self, seeds: int) -> Learner:
        """At least so many trainings."""
        return dataclasses.replace(self, seeds=max(seeds, self.seeds))


def train_learners(
    learners: Mapping[str, Learner], family: AnyFamily, directory: Path, report: Report
) -> dict[str, list[Run]]:
    """Every seed of every method."""
    return {
        name: [
            train_or_resume(m.config, family, m.updates, seed, directory / name / f"seed-{seed}", report)
            for seed in range(m.seeds)
        ]
        for name, m in learners.items()
    }


def lifetime_table(
    title: str,
    runs: Mapping[str, Sequence[Run]],
    goals: Mapping[str, float],
    references: Mapping[str, np.ndarray],
    published: Mapping[str, float],
    ceilings: Mapping[str, float],
    tasks: int,
    source: str,
    note: str,
    not_below: str | None = None,
    above: Mapping[str, Sequence[str]] | None = None,
) -> Outcome:
    """Mean total reward of each learner over its seeds and `tasks` unseen tasks, and of each reference, whose totals [M] on the
    same tasks are given; `ceilings`: what is known exactly. Learners claim to reach their `goals`, not to be significantly below
    the reference `not_below`, and to be significantly `above` the references that are named for them."""
    totals: dict[str, np.ndarray] = {name: values[None] for name, values in references.items()}
    for name, members in runs.items():
        result = evaluate(members, "test", tasks, label=name)
        for run in members:
            assert run.directory is not None
        folder = members[0].directory
        assert folder is not None
        result.save(folder / "evaluation" / "test.safetensors")
        totals[name] = result.scores()
    rows = [
        (
            name,
            f"{x.mean():.3f}",
            _interval(x),
            _seeds(x, runs.get(name, ())),
            _published(published.get(name)),
        )
        for name, x in sorted(totals.items(), key=lambda item: item[1].mean())
    ]
    rows += [(name, f"{value:.3f}", "", "", "") for name, value in ceilings.items()]
    claims = [
        Claim(f"{name} earns {mean:.2f}, at least {goal:g}", mean >= goal)
        for name, goal in goals.items()
        for mean in [float(totals[name].mean())]
    ]
    for name in runs if not_below else ():
        assert not_below is not None
        low, _, mean = _difference(totals[not_below], totals[name])
        claims.append(
            Claim(f"{name} is not significantly below {not_below} (difference {-mean:+.3f})", low <= 0)
        )
    for name, others in (above or {}).items():
        for other in others:
            low, high, mean = _difference(totals[name], totals[other])
            claims.append(
                Claim(f"{name} earns more than {other}: {mean:+.2f} [{low:+.2f}, {high:+.2f}]", low > 0)
            )
    table = Table(title, ("", "mean", "95% interval", "each seed", source), rows, note)
    return Outcome([table], claims, [run.directory for m in runs.values() for run in m if run.directory])


def learning_within(
    runs: Mapping[str, Sequence[Run]], tasks: int, directory: Path, report: Report
) -> Outcome:
    """The learning result of each learner: its last episode against its first, and against the multi-task learner, which has had as
    many environment steps as the learner with most, or `ENOUGH_STEPS`."""
    family = next(iter(runs.values()))[0].family
    seeds = range(max(len(members) for members in runs.values()))
    most = min(ENOUGH_STEPS, max(run.env_steps for members in runs.values() for run in members))
    alone = [
        train_as_long(family, most, seed, directory / "multi-task" / f"seed-{seed}", report) for seed in seeds
    ]
    compromise = evaluate(alone, "test", tasks, 1, label="multi-task").curve()[:, :, 0]
    rows, claims = [], []
    for name, members in runs.items():
        curve = evaluate(members, "test", tasks, label=name).curve()
        gains = [difference(curve[:, :, -1], x) for x in (curve[:, :, 0], compromise[: len(members)])]
        rows.append(
            (
                name,
                f"{curve[:, :, 0].mean():.3f}",
                f"{curve[:, :, -1].mean():.3f}",
                *(in_words(g, 3) for g in gains),
            )
        )
        claims.append(
            Claim(
                f"{name}: its last episode beats its first by {in_words(gains[0], 3)} and the multi-task learner by "
                f"{in_words(gains[1], 3)}",
                min(low for _, low, _ in gains) > 0,
            )
        )
    rows.append(("multi-task", f"{compromise.mean():.3f}", "", "", ""))
    header = ("", "first episode", "last episode", "− first", "− multi-task")
    note = (
        f"The multi-task learner has had {np.mean([run.env_steps for run in alone]):,.0f} environment steps: one policy for all "
        "these tasks is soon as good as it gets."
    )
    table = Table(
        f"Learning within a lifetime of {family.spec.name}: {tasks:,} unseen tasks", header, rows, note
    )
    return Outcome([table], claims, [run.directory for run in alone if run.directory])


def _difference(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Of totals [seeds, M] on the same tasks: the 95% interval of their mean difference over tasks, and that difference."""
    difference = x.mean(0) - y.mean(0)
    low, high = map(float, statistics.normal_interval(difference))
    return low, high, float(difference.mean())


def _interval(x: np.ndarray) -> str:
    low, high = statistics.interval(x, "mean") if len(x) > 1 else statistics.normal_interval(x[0])
    return f"[{low:.3f}, {high:.3f}]"


def _seeds(x: np.ndarray, runs: Sequence[Run]) -> str:
    return " ".join(f"{mean:.2f}" for mean in x.mean(1)) if runs else ""


def _published(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
