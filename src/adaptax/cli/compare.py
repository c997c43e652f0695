"""`adaptax compare`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from adaptax import statistics
from adaptax.cli.output import show, waiting
from adaptax.cli.runs import Learner, find
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import comparable_scores
from adaptax.evaluation.summaries import evaluation_summaries
from adaptax.reports.numbers import bracket, count, decimals, duration, number
from adaptax.reports.tables import Table


@dataclasses.dataclass(frozen=True)
class Compare:
    """One table of several learners that meet the same tasks: IQM, interval, probability of improvement, cost."""

    directories: Annotated[Positional[tuple[str, ...]], arg(metavar="DIR")]
    """What `adaptax train` wrote, on the same family; the others are compared with the first."""
    split: Literal["train", "test", "ood"] = "test"
    """Which tasks."""
    tasks: Annotated[int, arg(metavar="N")] = 100
    """How many tasks."""
    episodes: Annotated[int | None, arg(metavar="E", help_behavior_hint="")] = None
    """Episodes that each task is given; default: each algorithm's habit."""

    def execute(self) -> None:
        if len(self.directories) < 2:
            raise AdaptaxError("Name at least two folders to compare.")
        learners = [find(source) for source in self.directories]
        check_same_family(learners)
        with waiting(f"meeting {self.tasks} tasks ..."):
            evaluations = [
                evaluate(x.runs, self.split, self.tasks, self.episodes, label=x.name) for x in learners
            ]
        _, scores = comparable_scores(evaluations)
        summaries = evaluation_summaries(evaluations)
        places = decimals(
            [(s.interval[1] - s.interval[0]) / 2 for s in summaries], [s.iqm for s in summaries]
        )
        rows = []
        for source, e, s, mine in zip(self.directories, evaluations, summaries, scores, strict=True):
            better = statistics.probability_of_improvement(mine, scores[0])
            rows.append(
                [
                    source,
                    number(s.iqm, places),
                    bracket(*s.interval, places),
                    ""
                    if mine is scores[0]
                    else f"{number(better.value, 2)} {bracket(better.low, better.high, 2)}",
                    count(s.steps_consumed[-1]),
                    str(s.n_seeds),
                    count(sum(e.training_env_steps)),
                    duration(sum(e.training_seconds)),
                ]
            )
        note = (
            f"IQM: interquartile mean of the {summaries[0].score} over {self.tasks} tasks that all met, and seeds. "
            "P(better): probability that a run of this learner beats one of the first on a task drawn at random. Steps used: "
            "environment steps of the new task before the last point."
        )
        used = [s.steps_consumed[-1] for s in summaries]
        if max(used) > 1.1 * min(used):
            note += " The learners used different numbers of steps: give --episodes to compare at equal consumption."
        columns = [
            "run",
            "IQM",
            "95% interval",
            "P(better) than the first",
            "steps used",
            "seeds",
            "training steps",
            "time",
        ]
        show(Table(f"{evaluations[0].family}, {self.split} tasks", columns, rows, note))


def check_same_family(learners: list[Learner]) -> None:
    """AdaptaxError where the learners were trained on different families."""
    first = learners[0].runs[0]
    for learner in learners[1:]:
        run = learner.runs[0]
        if run.family_record != first.family_record:
            raise AdaptaxError(
                f"{learners[0].name} was trained on {_family(first.family_record)} and {learner.name} on "
                f"{_family(run.family_record)}; only learners of the same family compare."
            )


def _family(record: dict) -> str:
    fields = ", ".join(f"{name}={value}" for name, value in record.get("fields", {}).items())
    return record["reference"] + (f" ({fields})" if fields else "")
