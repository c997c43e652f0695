"""What a report is made of: plain numbers and names, so that anything that has results can have a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from adaptax.errors import AdaptaxError
from adaptax.reports.numbers import Number

Kind = Literal["learner", "baseline", "ceiling"]
KINDS: tuple[Kind, ...] = ("learner", "baseline", "ceiling")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSummary:
    """How one method, learner or baseline, does on tasks of one split. P: points of its adaptation curve."""

    label: str
    """Name of the method, e.g. "maml", "random", "oracle"."""
    split: str
    """"train", "test" or "ood"."""
    steps_consumed: Sequence[Number]
    """[P], what had been used of the new task before each point, in `unit`s."""
    episodes: Sequence[int]
    """[P], the index of the round or episode that each point measures."""
    mean: Sequence[Number]
    """[P], mean of `measure` over tasks and seeds."""
    low: Sequence[Number]
    """[P], lower end of the 95% interval of `mean`."""
    high: Sequence[Number]
    """[P], upper end."""
    iqm: Number
    """Interquartile mean of the score over tasks and seeds."""
    interval: tuple[Number, Number]
    """95% interval of `iqm`."""
    score: str = "return after adaptation"
    """What `iqm` and `interval` are of."""
    measure: str = "return of an episode"
    """What `mean` is the mean of."""
    unit: str = "environment steps"
    """Of `steps_consumed`."""
    worst_tenth: Number | None = None
    """Mean of `measure` after adaptation over the tenth of the tasks on which it is least."""
    success_rate: Number | None = None
    """Share of episodes that succeed after adaptation, 0 to 1, where the family defines success."""
    regret: Number | None = None
    """Best possible minus achieved return of an episode after adaptation, where the best is known."""
    n_tasks: int
    n_seeds: int
    actions: Literal["sampled", "modal"]
    seconds: Number
    """Wall-clock time of the evaluation."""
    kind: Kind = "learner"
    """A "ceiling" is told what others must find out, or is computed."""
    shared_tasks: bool = False
    """True where the family trains and tests on the same tasks."""
    notes: str = ""

    def __post_init__(self):
        curve = ("steps_consumed", "episodes", "mean", "low", "high")
        for name in (*curve, "interval"):  # tuples, so that equal evaluations can be found
            object.__setattr__(self, name, tuple(getattr(self, name)))
        sizes = {name: len(getattr(self, name)) for name in curve}
        if len(set(sizes.values())) > 1 or not self.mean:
            raise AdaptaxError(
                f"The evaluation of '{self.label}' needs the same number of adaptation points, at least one, "
                f"in each of {sizes}; evaluate it again."
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BeliefSummary:
    """What a learner believed in one lifetime of each of M tasks; R: rows (steps) of a lifetime, one after the other."""

    label: str
    split: str
    beliefs: Float[np.ndarray, "M R D"]
    """After each row."""
    valid: Bool[np.ndarray, "M R"]
    """False in rows that only fill up."""
    episode: Int[np.ndarray, "M R"]
    """Episodes finished before the row."""
    reward: Float[np.ndarray, "M R"]
    """What the row's action was paid."""
    features: Float[np.ndarray, "M F"] | None = None
    """The hidden task in numbers, where the family gives them."""
    maps: Float[np.ndarray, "M R rows columns"] | None = None
    """The reward that was expected in each place after each row, where the learner predicts rewards and the task is a map."""
    truth: Float[np.ndarray, "M rows columns"] | None = None
    """What is paid there."""
    where: Int[np.ndarray, "M R 2"] | None = None
    """Row and column of the place where the learner was."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnswersSummary:
    """What a learner answered on M tasks of C classes after adapting to S labelled examples; Q: queries of a task."""

    label: str
    split: str
    classes: int
    support: Float[np.ndarray, "M S ..."]
    """Inputs; [height, width, channels] are drawn."""
    support_labels: Int[np.ndarray, "M S"]
    """Here and below −1 in rows that only fill up."""
    queries: Float[np.ndarray, "M Q ..."]
    query_labels: Int[np.ndarray, "M Q"]
    answers: Int[np.ndarray, "M Q"]
    """The likeliest class."""
    names: Sequence[Sequence[str]] = ()
    """Of each task's classes; here and below empty: they have none."""
    support_texts: Sequence[Sequence[str]] = ()
    """Inputs that are texts."""
    query_texts: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A meta-training run (one seed of it) and what was found about it."""

    name: str
    algorithm: str
    family: str
    config: dict[str, Any]
    """Everything needed to repeat it, nested as it likes; "seed" tells runs of one configuration apart."""
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What these settings are unless told otherwise, nested alike, of those that have a default."""
    metrics: Sequence[dict[str, Any]] = ()
    """A row per meta-update: "update", "env_steps" so far, "return", "seconds" so far, and what the algorithm adds."""
    evaluations: Sequence[EvaluationSummary] = ()
    command: str = ""
    """The command that repeats it."""
    beliefs: Sequence[BeliefSummary] = ()
    answers: Sequence[AnswersSummary] = ()


def by_family(runs: Iterable[RunSummary]) -> dict[str, list[RunSummary]]:
    """The runs of each task family: returns of different families do not compare."""
    families: dict[str, list[RunSummary]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    return families


def all_evaluations(runs: Iterable[RunSummary]) -> list[EvaluationSummary]:
    """The evaluations of several runs of one family, best first within each kind.

    Equal ones (the same baseline, listed under each run) appear once; different ones of the same label get
    the name of their run.
    """
    runs = list(runs)
    owners: dict[EvaluationSummary, str] = {}
    for run, name in zip(runs, _without_shared_folders([run.name for run in runs]), strict=True):
        for evaluation in run.evaluations:
            owners.setdefault(evaluation, name)
    names = [(evaluation.label, evaluation.split) for evaluation in owners]
    named = [
        dataclasses.replace(e, label=f"{e.label} ({owner})") if names.count((e.label, e.split)) > 1 else e
        for e, owner in owners.items()
    ]
    return sorted(named, key=lambda e: (KINDS.index(e.kind), math.isnan(e.iqm), -e.iqm))


def headline_split(evaluations: Sequence[EvaluationSummary]) -> str:
    """The split that a report speaks of first: "test" where there is one."""
    splits = [e.split for e in evaluations]
    return "test" if "test" in splits else splits[0]


def _without_shared_folders(names: Sequence[str]) -> list[str]:
    """["runs/a/seed-0", "runs/b/seed-0"] -> ["a/seed-0", "b/seed-0"]."""
    parts = [name.split("/") for name in names]
    depth = min(map(len, parts), default=1) - 1
    shared = next((i for i in range(depth) if len({p[i] for p in parts}) > 1), depth)
    return ["/".join(p[shared:]) for p in parts]
