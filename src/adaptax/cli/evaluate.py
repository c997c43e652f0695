"""`adaptax evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from adaptax.cli.output import progress, show, show_json, waiting
from adaptax.cli.runs import Learner, find
from adaptax.errors import AdaptaxError
from adaptax.evaluation.answers import keep_answers
from adaptax.evaluation.baselines import with_baselines
from adaptax.evaluation.beliefs import keep_beliefs
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.folder import save_evaluations
from adaptax.evaluation.result import Evaluation, comparable_scores
from adaptax.evaluation.summaries import evaluation_summaries, mean_interval, measure_in_words
from adaptax.reports.numbers import bracket, count, decimals, duration, number, percent
from adaptax.reports.tables import Table, headline

MOST_POINTS = 12
"""Points of an adaptation curve that the terminal shows."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Meets unseen tasks with a trained learner: return along the adaptation, score, success, regret, cost."""

    directory: Annotated[Positional[str], arg(metavar="DIR")]
    """What `adaptax train` wrote, all its seeds together; or pretrained:NAME."""
    split: Literal["train", "test", "ood"] = "test"
    """Which tasks."""
    tasks: Annotated[int, arg(metavar="N")] = 100
    """How many tasks."""
    episodes: Annotated[int | None, arg(metavar="E", help_behavior_hint="")] = None
    """Episodes that each task is given, or adaptation steps on a supervised one; default: the algorithm's habit."""
    modal: bool = False
    """Take the most likely action instead of a sample."""
    baselines: bool = False
    """Beside the learner: random, multi-task, fine-tuned, from scratch and oracle, trained with as many steps (once)."""
    json: bool = False
    """Print one JSON value instead of tables."""

    def execute(self) -> None:
        learner = find(self.directory)
        evaluations = self.meet(learner)
        folder = save_evaluations(learner.directory, evaluations) if learner.directory else None
        if learner.directory:
            keep_beliefs(learner.directory, learner.runs[0], self.split, self.episodes, self.modal)
            keep_answers(learner.directory, learner.runs[0], self.split, self.episodes)
        if self.json:
            learner_record, *others = [record(e, scored) for e, scored in _scored(evaluations)]
            show_json(learner_record | ({"baselines": others} if self.baselines else {}))
            return
        show(adaptation(evaluations[0]), headline(evaluation_summaries(evaluations)))
        print("\n".join(sentences(evaluations[0])))
        if folder:
            print(f"Kept in {folder}")

    def meet(self, learner: Learner) -> list[Evaluation]:
        """The learner's evaluation, and those of its baselines where they are asked for."""
        request = (learner.runs, self.split, self.tasks, self.episodes)
        if not self.baselines:
            with waiting(f"meeting {self.tasks} tasks ..."):
                return [evaluate(*request, modal=self.modal)]
        if learner.directory is None:
            raise AdaptaxError(
                f"Baselines are kept in a run's folder, and {self.directory} has none; train a run of your own."
            )
        with progress() as report:
            return with_baselines(*request, learner.directory / "baselines", report, self.modal)


def _scored(evaluations: Sequence[Evaluation]) -> list[tuple[Evaluation, tuple[str, np.ndarray]]]:
    what, scores = comparable_scores(evaluations)
    return [(e, (what, s)) for e, s in zip(evaluations, scores, strict=True)]


def adaptation(e: Evaluation) -> Table:
    """The return at each point of the adaptation curve, or at a dozen of them."""
    curve, consumed, success, regret = e.curve(), e.consumed(), e.success_rate(), e.regret()
    points = np.unique(np.linspace(0, curve.shape[2] - 1, MOST_POINTS).round().astype(int)).tolist()
    intervals = {p: mean_interval(curve[:, :, p]) for p in points}
    places = decimals([(high - low) / 2 for low, high in intervals.values()], curve.mean((0, 1)).tolist())
    columns = {
        "round" if e.by_round else "episode": [str(p) for p in points],
        f"{'env' if e.unit == 'environment steps' else 'adaptation'} steps before": [
            count(float(consumed[p])) for p in points
        ],
        e.measure: [number(float(curve[:, :, p].mean()), places) for p in points],
        "95% interval": [bracket(*intervals[p], places) for p in points],
    }
    if success is not None:
        columns["success"] = [percent(float(success[p])) for p in points]
    if regret is not None:
        columns["regret"] = [number(float(regret[p]), places) for p in points]
    return Table(
        f"{e.name} on {e.family}, {e.split} tasks: mean {measure_in_words(e)} as it adapts",
        list(columns),
        list(zip(*columns.values(), strict=True)),
        f"0 is before any adaptation. The second column: {e.unit} of the new task that had been used by then.",
        frozenset(),
    )


def sentences(e: Evaluation) -> list[str]:
    """What the tables have no column for."""
    [(_, (what, scores))] = _scored([e])
    low, high = mean_interval(scores)
    places = decimals([(high - low) / 2], [float(scores.mean())])
    lines = [
        f"Mean {what}: {number(float(scores.mean()), places)}, 95% interval {bracket(low, high, places)}."
    ]
    if e.curve().shape[2] > 1:
        gain, low, high = e.adapted_minus_unadapted()
        places = decimals([(high - low) / 2], [gain])
        lines.append(
            f"Adapted − unadapted: {number(gain, places)}, 95% interval {bracket(low, high, places)}."
        )
    if len(e.per_task()) > 1:
        places = decimals([e.spread()], [e.worst_tenth()])
        lines.append(
            f"Spread over tasks after adaptation: standard deviation {number(e.spread(), places)}, mean of the worst tenth "
            f"{number(e.worst_tenth(), places)}."
        )
    if e.shared_tasks:
        lines.append("The family trains and tests on the same tasks.")
    tasks, seeds = e.returns.shape[1], e.returns.shape[0]
    actions, unit = (
        ("", "labelled examples") if e.supervised else (f"actions {e.actions}, ", "environment steps")
    )
    return [
        *lines,
        f"{count(tasks)} tasks × {seeds} seed{'s' * (seeds > 1)}, {actions}{duration(e.seconds)}, "
        f"peak memory {count(e.peak_megabytes)} MB; meta-training took {count(sum(e.training_env_steps))} {unit} "
        f"in {duration(sum(e.training_seconds))}.",
    ]


def record(e: Evaluation, scored: tuple[str, np.ndarray]) -> dict[str, Any]:
    """The same as JSON values."""
    what, scores = scored
    curve, consumed, success, regret = e.curve(), e.consumed(), e.success_rate(), e.regret()
    gain, gain_low, gain_high = e.adapted_minus_unadapted()
    [summary] = evaluation_summaries([e])
    return {
        "label": e.label,
        "family": e.family,
        "split": e.split,
        "shared_tasks": e.shared_tasks,
        "actions": e.actions,
        "measure": e.measure,
        "transductive": e.transductive,
        "tasks": curve.shape[1],
        "seeds": curve.shape[0],
        "points": [
            {
                "round" if e.by_round else "episode": p,
                "env_steps_before": float(consumed[p]),
                "return": float(curve[:, :, p].mean()),
                "interval": [summary.low[p], summary.high[p]],
                "success_rate": None if success is None else float(success[p]),
                "regret": None if regret is None else float(regret[p]),
            }
            for p in range(curve.shape[2])
        ],
        "score": {
            "of": what,
            "iqm": summary.iqm,
            "mean": float(scores.mean()),
            "interval": list(summary.interval),
        },
        "spread_over_tasks": {"standard_deviation": e.spread(), "worst_tenth": e.worst_tenth()},
        "adapted_minus_unadapted": {"mean": gain, "interval": [gain_low, gain_high]},
        "cost": {
            "seconds": e.seconds,
            "peak_megabytes": e.peak_megabytes,
            "training_env_steps": e.training_env_steps,
            "training_seconds": e.training_seconds,
        },
    }
