"""Recommender cold start on MovieLens 100k: ratings of new users and of new films from ten ratings (Lee et al. 2019, MeLU)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax.algorithms.registry import ENTRIES
from adaptax.chunks import map_tasks
from adaptax.collection.few_shot import prediction_curve
from adaptax.evaluation.evaluate import evaluate
from adaptax.learner import Learner
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.draws import evaluation_examples
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.tasks.ratings import BIAS_RIDGE, FACTOR_RIDGE, FACTORS, KNOWN
from adaptax.tasks.recommender import Recommender
from adaptax.training.run import Run
from adaptax.training.train import Report
from adaptax.types import FewShot, Theta

USERS = 200
"""At most; of the new users there are 189."""
STEPS = 5
"""Of adaptation."""
UPDATES = 800
TARGET_GENRES = ("Action", "Sci-Fi", "Thriller")
"""Which the cross-domain figure keeps for testing."""


def learner(name: str, **changes: Any) -> Method:
    """A method with MeLU's network, two layers of 64 units."""
    sized = {"tasks": 32, "hidden": (64, 64), "lr": 1e-3} | changes
    return Method(name, dataclasses.replace(ENTRIES[name].supervised, **sized), UPDATES)  # type: ignore[type-var]


METHODS = (
    learner("maml", inner_lr=0.05, inner_steps=STEPS),
    learner("anil", inner_lr=0.05, inner_steps=STEPS, later_lr_factor=1.0),
    learner("meta-sgd", inner_lr=0.05, inner_steps=STEPS),
)
JOINT = learner("multi-task")
TUNED = dataclasses.replace(ENTRIES["fine-tune"].supervised, tasks=32, hidden=(64, 64), lr=1e-3)  # type: ignore[type-var]


class Scores(NamedTuple):
    """Each [seeds, users]; lower errors and higher nDCG are better."""

    mae: np.ndarray
    """Mean absolute error, stars."""
    ndcg1: np.ndarray
    ndcg3: np.ndarray


def recommender(
    directory: Path, report: Report, seeds: int = SEEDS, family: Recommender = Recommender()  # noqa: B008 (frozen)
) -> Outcome:  # fmt: skip
    """New users, new films, and both."""
    runs = {m.name: trained(m, family, directory, report, seeds) for m in (*METHODS, JOINT)}
    for m in METHODS:
        keep_curve(runs[m.name], family, directory / m.name)
    found = Outcome([], [], [run.directory for m in runs.values() for run in m if run.directory])
    for cold, what in (("users", "new users"), ("items", "new films"), ("both", "new users and new films")):
        found += compared(runs, dataclasses.replace(family, cold=cold), what)
    return found


def genres(
    directory: Path, report: Report, seeds: int = SEEDS, target: Recommender = Recommender(test_genres=TARGET_GENRES)  # noqa: B008
) -> Outcome:  # fmt: skip
    """New users' ratings of action, science fiction and thrillers, by learners that have seen no task of these."""
    away = {
        m.name: trained(m, target, directory / "other-genres", report, seeds) for m in (*METHODS[:2], JOINT)
    }
    everything = dataclasses.replace(target, test_genres=())
    at_home = trained(METHODS[0], everything, directory / "all-genres", report, seeds)
    for m in METHODS[:2]:
        keep_curve(away[m.name], target, directory / "other-genres" / m.name)
    runs = {**away, f"{METHODS[0].name}, trained on all genres": at_home}
    found = Outcome([], [], [run.directory for m in runs.values() for run in m if run.directory])
    return found + compared(
        runs, target, f"new users on {', '.join(target.test_genres)}, of which no task was trained on"
    )


def keep_curve(members: list[Run], family: Recommender, folder: Path) -> None:
    """The adaptation curve on new users, for the report."""
    evaluate(members, "test", USERS, STEPS, family=family).save(folder / "evaluation" / "test.safetensors")


def compared(runs: dict[str, list[Run]], family: Recommender, what: str) -> Outcome:
    """One table: before and after adaptation, and what needs none."""
    seeds = len(runs["multi-task"])
    data = [evaluation_examples(family, "test", seed, USERS) for seed in range(seeds)]
    found: dict[str, Scores] = {}
    claims = []
    alone = scores(family, data, lambda seed: of_learner(runs["multi-task"][seed], 0))
    for name, members in runs.items():
        if name == "multi-task":
            continue
        before = scores(family, data, lambda seed, m=members: of_learner(m[seed], 0))
        after = scores(family, data, lambda seed, m=members: of_learner(m[seed], STEPS))
        found |= {f"{name}, unadapted": before, name: after}
        gains = [difference(other.mae, after.mae) for other in (before, alone)]
        claims.append(
            Claim(
                f"{name}, {what}: adapted errs less than unadapted by {in_words(gains[0], 3)} stars and than the "
                f"multi-task network by {in_words(gains[1], 3)}",
                min(low for _, low, _ in gains) > 0,
            )
        )
    by_factors, by_popularity, plain = factorisation(family), popularity(family), "matrix factorisation"
    tuned = [dataclasses.replace(run, config=TUNED, _algorithm=None) for run in runs["multi-task"]]
    found |= {
        "multi-task": alone,
        "fine-tuning": scores(family, data, lambda seed: of_learner(tuned[seed], 2 * STEPS)),
        plain: scores(family, data, lambda seed: by_factors),
        "user's mean": scores(family, data, lambda seed: users_mean),
        "popularity": scores(family, data, lambda seed: by_popularity),
    }
    rows = [
        (
            name,
            f"{s.mae.mean():.3f}",
            each_seed(s.mae, 3),
            f"{s.ndcg1.mean():.3f}",
            f"{s.ndcg3.mean():.3f}",
            *(
                ("", "", "")
                if name == plain
                else (
                    in_words(difference(found[plain].mae, s.mae), 3),
                    in_words(difference(s.ndcg1, found[plain].ndcg1), 3),
                    in_words(difference(s.ndcg3, found[plain].ndcg3), 3),
                )
            ),
        )
        for name, s in found.items()
    ]
    table = Table(
        f"MovieLens 100k, {what}: {family.shots} ratings known, up to {family.queries} asked about, {seeds} seeds × "
        f"{found['multi-task'].mae.shape[1]} users",
        (
            "",
            "MAE, stars",
            "each seed",
            "nDCG@1",
            "nDCG@3",
            "MAE below factorisation's",
            "nDCG@1 above its",
            "nDCG@3 above its",
        ),
        rows,
        f"Adapted: after {STEPS} steps; fine-tuning: {2 * STEPS} of Adam. nDCG with gains 2^r − 1. All meet the same ratings. "
        f"Factorisation: {plain}; differences with 95% intervals.",
    )
    return Outcome([table], claims, [])


Predict = Callable[[FewShot], np.ndarray]
"""Tasks [B] ↦ what is expected of their queries, [B, Q], stars above the mean."""


def scores(family: Recommender, data: list[FewShot], predict: Callable[[int], Predict]) -> Scores:
    """Of a predictor for each seed on that seed's draws."""
    found = []
    for seed, few in enumerate(data):
        expected, label = predict(seed)(few), np.asarray(few.query.action)[..., 0]
        stars = label + family.ratings.fit.mean
        valid = np.asarray(few.query.valid)
        # Equal expectations are put in random order.
        ties = 1e-6 * np.random.default_rng(seed).random(expected.shape)
        found.append(
            [
                (np.abs(e - y)[v].mean(), *(ndcg(s[v], (e + t)[v], k) for k in (1, 3)))
                for e, y, s, t, v in zip(expected, label, stars, ties, valid, strict=True)
            ]
        )
    return Scores(*np.moveaxis(np.array(found), 2, 0))


def ndcg(stars: np.ndarray, expected: np.ndarray, k: int) -> float:
    """Σ_{i ≤ k} (2^r_i − 1) / log₂(1 + i) in the expected order, as a share of that in the best order (Lee et al. 2019, §5)."""
    gains = lambda order: ((2.0 ** stars[order[:k]] - 1) / np.log2(2 + np.arange(len(order[:k])))).sum()  # noqa: E731
    return float(gains(np.argsort(-expected)) / gains(np.argsort(-stars)))


def of_learner(run: Run, steps: int) -> Predict:
    """After so many steps."""
    return lambda data: np.asarray(_expected(run.algorithm.learner, run.state.theta, data, steps))


@eqx.filter_jit
def _expected(learner: Learner, theta: Theta, data: FewShot, steps: int) -> jax.Array:
    last = lambda few: prediction_curve(learner, theta, few, steps)[0].dist.mean[-1, :, 0]  # noqa: E731
    return map_tasks(last, data, 50)


# --- without meta-training ---------------------------------------------------------------------


def popularity(family: Recommender) -> Predict:
    """b_i: how training users like the item."""
    scale = family.ratings.scale[0]
    return lambda data: np.asarray(data.query.obs)[..., 0] * scale


def users_mean(data: FewShot) -> np.ndarray:
    """The mean of the known ratings, whatever the item."""
    mean = np.asarray(data.support.action).mean(1)
    return np.broadcast_to(mean, data.query.obs.shape[:2])


def factorisation(family: Recommender) -> Predict:
    """b_i + b_u + p_u·q_i: a new user's bias and factors are the ridge regression of the known ratings, as training users' are."""
    scale = family.ratings.scale
    ridge = jnp.diag(jnp.array([BIAS_RIDGE] + [FACTOR_RIDGE] * FACTORS))

    def parts(obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        v = obs[..., : KNOWN - 1] * scale
        return v[..., 0], jnp.concatenate([jnp.ones_like(v[..., :1]), v[..., 1:]], -1)

    @jax.jit
    @jax.vmap
    def expected(data: FewShot) -> jax.Array:
        bias, z = parts(data.support.obs)
        asked_bias, asked = parts(data.query.obs)
        u = jnp.linalg.solve(z.T @ z + ridge, z.T @ (data.support.action[:, 0] - bias))
        return asked_bias + asked @ u

    return lambda data: np.asarray(expected(data))
