"""From what a run left in its folder to what a report is made of."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config
from adaptax.evaluation.answers import saved_answers
from adaptax.evaluation.beliefs import saved_beliefs
from adaptax.evaluation.result import Evaluation
from adaptax.evaluation.summaries import evaluation_summaries
from adaptax.reports.summary import AnswersSummary, BeliefSummary, EvaluationSummary, RunSummary
from adaptax.tasks import registry as families
from adaptax.training.run import Run, load_run, read_record, run_folders
from adaptax.types import Spec


def run_summaries(directory: Path | str) -> list[RunSummary]:
    """Every seed of the run in a folder, with the evaluations that were made of it, or of all seeds beside it."""
    directory = Path(directory)
    evaluations = saved_evaluations(directory)
    if not evaluations and directory.name.startswith("seed-"):
        evaluations = saved_evaluations(directory.parent)
    runs = [load_run(folder)[0] for folder in run_folders(directory)]
    beliefs, answers = saved_beliefs(directory), saved_answers(directory)  # of the first seed
    return [
        _run_summary(run, evaluations, *((beliefs, answers) if i == 0 else ((), ())))
        for i, run in enumerate(runs)
    ]


def _run_summary(
    run: Run,
    evaluations: Sequence[EvaluationSummary],
    beliefs: Sequence[BeliefSummary],
    answers: Sequence[AnswersSummary],
) -> RunSummary:
    assert run.directory is not None
    usual, of_family = defaults_of(run.algorithm_name, run.family_record, run.spec)
    folder = run.directory.absolute()
    name = f"{folder.parent.name}/{folder.name}" if folder.name.startswith("seed-") else folder.name
    return RunSummary(
        name=name,
        algorithm=run.algorithm_name,
        family=run.spec.name,
        config={k: v for k, v in read_record(run.directory).items() if k not in ("format", "spec")},
        defaults={"hyperparameters": usual, "family": {"fields": of_family}},
        metrics=run.metrics(),
        evaluations=evaluations,
        command=command(run),
        beliefs=beliefs,
        answers=answers,
    )


def saved_evaluations(directory: Path) -> list[EvaluationSummary]:
    """The evaluations in DIR/evaluation: of the learner SPLIT.safetensors, of its baselines SPLIT-NAME.safetensors."""
    found: dict[str, list[Evaluation]] = {}
    for path in sorted((directory / "evaluation").glob("*.safetensors"), key=lambda p: p.stem):
        evaluation = Evaluation.load(path)
        found.setdefault(evaluation.split, []).append(evaluation)
    return [summary for group in found.values() for summary in evaluation_summaries(group)]


def save_evaluations(directory: Path, evaluations: Sequence[Evaluation]) -> Path:
    """Keeps the evaluation of a learner, and those of its baselines after it, where `saved_evaluations` finds them."""
    folder = directory / "evaluation"
    learner, *baselines = evaluations
    learner.save(folder / f"{learner.split}.safetensors")
    for baseline in baselines:
        baseline.save(folder / f"{baseline.split}-{baseline.label}.safetensors")
    return folder


def command(run: Run) -> str:
    """The command that repeats a run."""
    return train_command(run.algorithm_name, run.config, run.family_record, run.spec, run.seed, run.updates)


def train_command(
    name: str, config: Config, record: dict[str, Any], spec: Spec, seed: int, updates: int
) -> str:
    """The command that trains a learner on the family of a record."""
    reference, fields = record["reference"], record.get("fields", {})
    default, usual = defaults_of(name, record, spec)
    ours = dataclasses.asdict(config)  # type: ignore[call-overload]
    words = [
        "adaptax",
        "train",
        name,
        reference,
        "--seed",
        str(seed),
        "--updates",
        str(updates),
    ]
    words += [word for field in ours if ours[field] != default[field] for word in _flag(field, ours[field])]
    words += [
        w
        for field in fields
        if fields[field] != usual.get(field)
        for w in _flag(f"family.{field}", fields[field])
    ]
    return shlex.join(words)


def defaults_of(name: str, record: dict[str, Any], spec: Spec) -> tuple[dict[str, Any], dict[str, Any]]:
    """A learner's hyperparameters on the family of a record, and that family's fields, unless told otherwise."""
    entry = families.ENTRIES.get(record["reference"])
    usual = dataclasses.asdict(entry.cls()) if entry and dataclasses.is_dataclass(entry.cls) else {}
    return dataclasses.asdict(algorithms.entry(name).defaults(spec)[0]), usual  # type: ignore[call-overload]


def _flag(name: str, value: Any) -> list[str]:
    *group, last = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        last = last if value else f"no-{last}"
        return ["--" + ".".join([*group, last])]
    values = value if isinstance(value, (list, tuple)) else [value]
    return ["--" + ".".join([*group, last]), *map(str, values)]
