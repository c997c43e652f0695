"""Few-shot intents of CLINC150 on domains that meta-training has not seen, beside what needs no meta-training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adaptax import statistics
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.answers import keep_answers
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.draws import evaluation_examples
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.kept import evaluated
from adaptax.reproduction.learning import SEEDS
from adaptax.reproduction.sentence_baselines import (
    Classifier,
    fine_tuning,
    logistic_regression,
    nearest_centroid,
    pretrained,
)
from adaptax.tasks.base import Split
from adaptax.tasks.text import Text
from adaptax.training.train import Report
from adaptax.types import FewShot

TASKS = 200
"""Unseen tasks."""
TUNING_TASKS = 40
"""Tasks of training domains that baselines are tuned on."""
STEPS = (0, 1, 5, 10)
"""Adaptation steps after which the accuracy is told."""
SHOTS = (1, 5)
UPDATES = 200


def learner(name: str, **changes: Any) -> Method:
    """A method with the defaults for sentence vectors, linear on them, or with an encoder upon them."""
    config = dataclasses.replace(ENTRIES[name].embedded, tasks=20, **changes)  # type: ignore[type-var]
    return Method(name, config, UPDATES)


METHODS = (
    learner("maml"),
    learner("meta-sgd"),
    dataclasses.replace(learner("maml", hidden=(256,), lr=5e-4), name="maml-encoder"),
    learner("protonet"),
)
"""Prototypical networks read the support once: one step is all there is."""


def text(directory: Path, report: Report, seeds: int = SEEDS) -> Outcome:
    """Accuracy for each number of shots, then for tasks whose intents share a domain."""
    found = Outcome([], [], [])
    for shots in SHOTS:
        found += intents(Text(shots=shots), directory / f"{shots}-shot", report, seeds)
    found += intents(Text(shots=5, same_domain=True), directory / "same-domain", report, seeds)
    return found


def intents(family: Text, directory: Path, report: Report, seeds: int) -> Outcome:
    """Accuracy on unseen domains after each number of steps, and on those trained on; baselines meet the same draws."""
    runs = {method.name: trained(method, family, directory, report, seeds) for method in METHODS}
    joint_config = ENTRIES["multi-task"].embedded
    assert joint_config is not None
    joint = trained(Method("multi-task", joint_config, UPDATES), family, directory, report, seeds)
    alone = evaluate(joint, "test", TASKS, 0).curve()[:, :, 0]
    baselines = {
        name: accuracies(family, make, "test", seeds, TASKS) for name, make in references(family).items()
    }
    rows, claims = [], []
    for name, members in runs.items():
        kept = directory / name / "evaluation/test.safetensors"
        curve = evaluated(members, family, TASKS, STEPS[-1], kept, label=name).curve()
        if members[0].directory:
            keep_answers(members[0].directory, members[0])
        adapted, unadapted = curve[:, :, -1], curve[:, :, 0]
        seen = evaluate(members, "train", TASKS, STEPS[-1]).curve()[:, :, -1]
        gains = [difference(100 * adapted, 100 * x) for x in (unadapted, alone, *baselines.values())]
        cells = [_percent(curve[:, :, k]) if k < curve.shape[2] else "" for k in STEPS]
        words = [in_words(gain) for gain in gains[1:]]
        rows.append((name, *cells, each_seed(100 * adapted), *words, _percent(seen)))
        claims.append(
            Claim(
                f"{name}, {_what(family)}: adapted gains {in_words(gains[0])} points on its unadapted self and "
                f"{in_words(gains[1])} on the multi-task network",
                min(low for _, low, _ in gains[:2]) > 0,
            )
        )
    blank, no_gains = [""] * (len(STEPS) - 1), [""] * (len(baselines) + 2)
    for name, scores in baselines.items():
        rows.append((name, *blank, _percent(scores), each_seed(100 * scores), *no_gains))
    rows.append(("multi-task", _percent(alone), *blank, each_seed(100 * alone), *no_gains))
    table = Table(
        f"CLINC150, {_what(family)}: accuracy in percent on domains that no training task showed, {seeds} seeds × {TASKS} tasks",
        (
            "method",
            *(f"{k} step{'s' * (k != 1)}" for k in STEPS),
            "each seed",
            *(f"gain on {other}" for other in ("multi-task", *baselines)),
            "seen domains",
        ),
        rows,
        "Means with half a 95% interval over seeds and tasks; gains, with their intervals, on the same sentences. Baselines stand "
        "in the last column of steps.",
    )
    return Outcome(
        [table], claims, [run.directory for m in (*runs.values(), joint) for run in m if run.directory]
    )


def references(family: Text) -> dict[str, Callable[[int], Classifier]]:
    """What needs no meta-training, for each seed; numbers are chosen on training tasks of the domains trained on."""
    strengths = [logistic_regression(c) for c in (0.01, 0.1, 1.0)]
    best = max(strengths, key=lambda c: accuracies(family, lambda _: c, "train", 1, TUNING_TASKS).mean())
    corpus = family.corpus
    seen = np.flatnonzero(~corpus.test)
    # The pre-trained network must meet intents that it has not seen: those of one training domain are left out for the choice.
    held = corpus.domain_of[seen] == corpus.domain_of[seen].max()
    validating = dataclasses.replace(family, test_domains=(corpus.domains[corpus.domain_of[seen].max()],))
    network = pretrained(corpus, seen[~held], 0)
    grid = [(lr, steps) for lr in (1e-3, 1e-2) for steps in (20, 100)]
    lr, steps = max(
        grid,
        key=lambda g: accuracies(
            validating, lambda _: fine_tuning(network, *g), "test", 1, TUNING_TASKS
        ).mean(),
    )
    return {
        "nearest centroid": lambda seed: nearest_centroid,
        "logistic regression": lambda seed: best,
        "fine-tuning": lambda seed: fine_tuning(pretrained(corpus, seen, seed), lr, steps),
    }


def accuracies(
    family: Text, make: Callable[[int], Classifier], split: Split, seeds: int, tasks: int
) -> np.ndarray:
    """[seeds, tasks] of a classifier that knows the support alone, on the draws that `evaluate` makes for these seeds."""
    found = []
    for seed in range(seeds):
        classify, data = make(seed), evaluation_examples(family, split, seed, tasks)
        each = zip(*(np.asarray(x) for x in arrays(data)), strict=True)
        found.append(
            [((classify(x, y, q).argmax(1) == label)[valid]).mean() for x, y, q, label, valid in each]
        )
    return np.array(found)


def arrays(data: FewShot) -> tuple[Any, ...]:
    return data.support.obs, data.support.action, data.query.obs, data.query.action, data.query.valid


def _percent(scores: np.ndarray) -> str:
    low, high = statistics.interval(scores, "mean")
    return f"{100 * scores.mean():.1f} ± {50 * (high - low):.1f}"


def _what(family: Text) -> str:
    domain = ", all intents of one domain" * family.same_domain
    return f"{family.ways} ways × {family.shots} shot{'s' * (family.shots > 1)}{domain}"
