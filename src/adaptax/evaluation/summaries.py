"""Evaluations as the plain numbers that a report is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptax import statistics
from adaptax.algorithms import registry as algorithms
from adaptax.evaluation.result import Evaluation, comparable_scores
from adaptax.reports.summary import EvaluationSummary, Kind


def evaluation_summaries(evaluations: Sequence[Evaluation]) -> list[EvaluationSummary]:
    """Evaluations of one family and split, scored alike: the first says how (`comparable_scores`)."""
    what, scores = comparable_scores(evaluations)
    return [_evaluation_summary(e, what, s) for e, s in zip(evaluations, scores, strict=True)]


def _evaluation_summary(evaluation: Evaluation, what: str, scores: np.ndarray) -> EvaluationSummary:
    curve = evaluation.curve()
    points = range(curve.shape[2])
    intervals = [mean_interval(curve[:, :, p]) for p in points]
    success, regret = evaluation.success_rate(), evaluation.regret()
    return EvaluationSummary(
        label=evaluation.name,
        split=evaluation.split,
        steps_consumed=evaluation.consumed().tolist(),
        episodes=list(points),
        mean=curve.mean((0, 1), dtype=np.float64).tolist(),
        low=[low for low, _ in intervals],
        high=[high for _, high in intervals],
        iqm=float(statistics.iqm(scores)),
        interval=statistics.interval(scores),
        score=what,
        measure=measure_in_words(evaluation),
        unit=evaluation.unit,
        worst_tenth=evaluation.worst_tenth(),
        success_rate=None if success is None else float(success[-1]),
        regret=None if regret is None else float(regret[-1]),
        n_tasks=curve.shape[1],
        n_seeds=curve.shape[0],
        actions="modal" if evaluation.actions == "modal" else "sampled",
        seconds=evaluation.seconds,
        kind=kind(evaluation.label),
        shared_tasks=evaluation.shared_tasks,
    )


def measure_in_words(evaluation: Evaluation) -> str:
    """What a point of the adaptation curve is the mean of."""
    return evaluation.measure if evaluation.supervised else "return of an episode"


def mean_interval(scores: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean of scores [S, M]: of one seed's independent tasks in closed form, else by bootstrap."""
    return statistics.normal_interval(scores) if len(scores) == 1 else statistics.interval(scores, "mean")


def kind(label: str) -> Kind:
    """What a method of this name stands for in a table."""
    if label == "oracle":
        return "ceiling"
    entry = algorithms.ENTRIES.get(label)
    return "baseline" if label == "from-scratch" or (entry and entry.kind == "baseline") else "learner"
