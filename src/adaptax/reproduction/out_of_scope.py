"""How well sentences that express no intent of a task are told from those that do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from adaptax import statistics
from adaptax.algorithms.registry import ENTRIES
from adaptax.chunks import map_tasks
from adaptax.collection.few_shot import prediction_curve
from adaptax.learner import Learner
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.draws import evaluation_examples
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.reproduction.sentence_baselines import Classifier
from adaptax.reproduction.text import METHODS, STEPS, TASKS, UPDATES, arrays, references
from adaptax.tasks.base import Split
from adaptax.tasks.text import Text
from adaptax.training.run import Run
from adaptax.training.train import Report
from adaptax.types import FewShot, Theta

KEPT = 0.95
"""The share of sentences with an intent that a threshold lets through, on training tasks."""
ASKED = 50
"""Sentences without an intent, for each task."""


class Detection(NamedTuple):
    """Each [seeds, tasks]."""

    auroc: np.ndarray
    """How probably a sentence with one of the intents is taken for likelier to have one than a sentence with none."""
    recall: np.ndarray
    """The share of sentences without an intent that fall below the threshold."""
    kept: np.ndarray
    """The share of the others that do not."""


def out_of_scope(
    directory: Path, report: Report, seeds: int = SEEDS, family: Text = Text(shots=5)  # noqa: B008 (frozen)
) -> Outcome:  # fmt: skip
    """By the greatest probability of an intent, or by a class of its own with as many examples."""
    ways = {
        "greatest probability": (family, directory / f"{family.shots}-shot"),
        "a class of its own": (dataclasses.replace(family, outside=True), directory / "out-of-scope"),
    }
    best, method, joint_config = references(family), METHODS[0], ENTRIES["multi-task"].embedded
    assert joint_config is not None
    found: dict[str, Detection] = {}
    rivals: dict[str, Detection] = {}
    claims, folders = [], []
    for way, (of, where) in ways.items():
        runs = trained(method, of, where, report, seeds)
        joint = trained(Method("multi-task", joint_config, UPDATES), of, where, report, seeds)
        explicit = of.outside
        adapted, unadapted, alone, regression = (
            detection(of, scorer, seeds, TASKS)
            for scorer in (
                lambda s: of_learner(runs[s], explicit),  # noqa: B023 (called at once)
                lambda s: of_learner(runs[s], explicit, 0),  # noqa: B023
                lambda s: of_learner(joint[s], explicit, 0),  # noqa: B023
                lambda s: of_classifier(best["logistic regression"](s), explicit),  # noqa: B023
            )
        )
        found |= {
            f"{method.name}, {way}": adapted, f"{method.name}, unadapted, {way}": unadapted, f"multi-task, {way}": alone,
            f"logistic regression, {way}": regression,
        }  # fmt: skip
        rivals[f"{method.name}, {way}"] = regression
        gains = [difference(adapted.auroc, other.auroc) for other in (unadapted, alone)]
        claims.append(
            Claim(
                f"{method.name}, {way}: AUROC {adapted.auroc.mean():.3f}, adapted above unadapted by {in_words(gains[0], 3)} and "
                f"above the multi-task network by {in_words(gains[1], 3)}",
                min(low for _, low, _ in gains) > 0,
            )
        )
        folders += [run.directory for run in (*runs, *joint) if run.directory]
    found["nearest centroid, cosine"] = detection(
        family, lambda s: of_classifier(best["nearest centroid"](s), False), seeds, TASKS
    )
    rows = [
        (
            name,
            f"{x.auroc.mean():.3f} [{low:.3f}, {high:.3f}]",
            each_seed(x.auroc, 3),
            f"{100 * x.recall.mean():.1f}",
            f"{100 * x.kept.mean():.1f}",
            in_words(difference(x.auroc, rivals[name].auroc), 3) if name in rivals else "",
        )
        for name, x in sorted(found.items(), key=lambda item: -item[1].auroc.mean())
        for low, high in [statistics.interval(x.auroc, "mean")]
    ]
    table = Table(
        f"CLINC150, {family.ways} ways × {family.shots} shots on unseen domains: sentences that express no intent, {seeds} seeds × "
        f"{TASKS} tasks",
        ("", "AUROC", "each seed", "found, %", "others kept, %", "on logistic regression"),
        rows,
        f"Found: below the threshold that keeps {KEPT:.0%} of the others on training tasks. A class of its own has {family.shots} "
        "examples too. On logistic regression: difference in AUROC to that which goes the same way, on the same sentences.",
    )
    return Outcome([table], claims, folders)


Scorer = Callable[[FewShot, jax.Array], np.ndarray]
"""(tasks, sentences without an intent [B, n, d]) ↦ how sure it is that each of [queries, then these] has one, [B, Q + n]."""


def detection(family: Text, scorer: Callable[[int], Scorer], seeds: int, tasks: int) -> Detection:
    """Of a scorer for each seed."""
    found = []
    for seed in range(seeds):
        inside, outside = _sureness(family, "train", scorer(seed), seed, tasks)
        threshold = np.quantile(np.concatenate(inside), 1 - KEPT)
        inside, outside = _sureness(family, "test", scorer(seed), seed, tasks)
        found.append(
            [
                (auroc(i, o), (o < threshold).mean(), (i >= threshold).mean())
                for i, o in zip(inside, outside, strict=True)
            ]
        )
    return Detection(*np.moveaxis(np.array(found), 2, 0))


def _sureness(
    family: Text, split: Split, score: Scorer, seed: int, tasks: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    data = evaluation_examples(family, split, seed, tasks)
    sure = score(data, _without_intent(family, split, data.keys))
    queries = sure.shape[1] - ASKED
    inside = np.asarray(data.query.valid & (data.query.action < family.ways))
    return [s[:queries][i] for s, i in zip(sure, inside, strict=True)], list(sure[:, queries:])


@eqx.filter_jit
def _without_intent(family: Text, split: Split, task_keys: jax.Array) -> jax.Array:
    """[B, ASKED, d]"""

    def one(key: jax.Array) -> jax.Array:
        rows = family.outside_rows(jax.random.fold_in(key, 1), split, ASKED)
        return family.corpus.vectors()[rows].astype(jnp.float32)

    return jax.vmap(one)(task_keys)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """P(a score of `inside` is above one of `outside`), ties counting half."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def _certainty(scores: Any, explicit: bool) -> Any:
    """From scores [..., classes]: that of the likeliest class, or, where the last class is that of no intent, what is not in it."""
    return 1.0 - scores[..., -1] if explicit else scores.max(-1)


def of_classifier(classify: Classifier, explicit: bool) -> Scorer:
    def score(data: FewShot, outside: jax.Array) -> np.ndarray:
        each = zip(*(np.asarray(x) for x in (*arrays(data)[:3], outside)), strict=True)
        return np.stack([_certainty(classify(x, y, np.concatenate([q, o])), explicit) for x, y, q, o in each])

    return score


def of_learner(run: Run, explicit: bool, steps: int = STEPS[-1]) -> Scorer:
    """After so many adaptation steps."""

    def score(data: FewShot, outside: jax.Array) -> np.ndarray:
        return np.asarray(
            _certainty(_probabilities(run.algorithm.learner, run.state.theta, data, outside, steps), explicit)
        )

    return score


@eqx.filter_jit
def _probabilities(
    learner: Learner, theta: Theta, data: FewShot, outside: jax.Array, steps: int
) -> jax.Array:
    """Of the classes [B, Q + n, classes], for a task's queries and for sentences without an intent."""

    def one(inputs: tuple[FewShot, jax.Array]) -> jax.Array:
        few, others = inputs
        more = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[:1], len(others), 0)]), few.query)
        more = dataclasses.replace(more, obs=jnp.concatenate([few.query.obs, others]))
        outs, _ = prediction_curve(learner, theta, dataclasses.replace(few, query=more), steps)
        return jax.nn.softmax(outs.dist.logits[-1], -1)

    return map_tasks(one, (data, outside), 10)
