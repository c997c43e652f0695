"""Evaluations of labelled examples that take long, kept beside the runs: a comparison that goes on does not make them again."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

from adaptax.checkpoint import digest, read_arrays
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.tasks import registry as families
from adaptax.tasks.base import SupervisedFamily
from adaptax.training.run import Run


def evaluated(
    runs: list[Run],
    family: SupervisedFamily,
    tasks: int,
    adaptations: int,
    path: Path,
    label: str | None = None,
) -> Evaluation:
    """What `evaluate` finds on unseen tasks of a family. It is kept in the file `path`, and read from there where the same was
    asked of the same parameters before."""
    asked = json.loads(json.dumps({
        "family": families.describe(family), "tasks": tasks, "adaptations": adaptations, "label": label,
        "trained": [[run.seed, dataclasses.asdict(run.config), digest(run.state.theta)] for run in runs],  # type: ignore[call-overload]
        "version": version("adaptax"),
    }))  # fmt: skip
    if path.is_file() and read_arrays(path)[1].get("asked") == asked:
        return Evaluation.load(path)
    result = evaluate(runs, "test", tasks, adaptations, family=family, label=label)
    result.save(path, asked)
    return result
