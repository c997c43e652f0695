"""Recommending from slates on MovieLens 100k: RL² and MAML beside bandit algorithms, by how often a user has been served."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import statistics
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.rl2 import RL2
from adaptax.evaluation.evaluate import EVALUATION_SEED, evaluate, optimal_returns, test_tasks
from adaptax.reports.outcome import Claim, Line, Outcome, Plot
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.tasks.recommender_slates import RecommenderSlates
from adaptax.tasks.slate_policies import Policy, average_weights, grids, play
from adaptax.training.train import Report
from adaptax.types import Layout

USERS = 500
"""Meetings with unseen users, of whom there are 189."""
POINTS = (1, 5, 10, 20)
"""Interactions whose regret is told."""
RL2_ = Method(
    "rl2",
    RL2(
        tasks=128, hidden=64, embedding=64, policy_hidden=(64,), lr=4e-3, lr_decay=0.998, gamma=0.0, gae_lambda=0.0,
        entropy=0.02, entropy_decay=0.995, epochs=2, minibatches=4,
    ),
    1500,
)  # fmt: skip
"""No slate depends on what was shown before, and exploring does not pay: each rating is credited to its own choice alone."""
MAML_ = Method(
    "maml",
    MAML(
        tasks=400,
        streams=10,
        hidden=(),
        inner_lr=10.0,
        inner_max_norm=0.0,
        gamma=1.0,
        lr=1e-2,
        max_kl_nats=0.2,
    ),
    300,
)
"""A round is ten interactions. A linear score of a film's row, which a long step turns towards a user's taste."""


RIVALS = ("popularity", "linucb", "thompson")
"""References whose difference to each learner is told with an interval."""


def slates(
    directory: Path, report: Report, seeds: int = SEEDS, family: RecommenderSlates = RecommenderSlates()  # noqa: B008 (frozen)
) -> Outcome:  # fmt: skip
    """Regret by interaction number, against the best item of each slate."""
    best = optimal_returns(family, test_tasks(family, "test", USERS, EVALUATION_SEED), USERS)
    assert best is not None
    n = family.interactions
    runs = {m.name: trained(m, family, directory, report, seeds) for m in (RL2_, MAML_)}
    joint = [
        train_as_long(family, run.env_steps, run.seed, directory / "multi-task" / f"seed-{run.seed}", report)
        for run in runs["rl2"]
    ]
    one_by_one = Layout(1, 1, n, episodes=n)
    # MAML adapts once, after half of the interactions.
    layouts = {"rl2": one_by_one, "maml": Layout(2, n // 2, 1, episodes=1), "multi-task": one_by_one}
    regrets: dict[str, np.ndarray] = {}
    for name, members in (runs | {"multi-task": joint}).items():
        result = evaluate(members, "test", USERS, layout=layouts[name])
        result.save(directory / name / "evaluation" / "test.safetensors")
        regrets[name] = best[:, None] - result.returns.reshape(seeds, USERS, n)
    x, rating = offered(family, "test", USERS, 1)
    for name, policy in references(family).items():
        chosen = [played(family, policy, x, rating, seed) for seed in range(seeds)]
        regrets[name] = best[:, None] - np.stack(chosen)
    totals = {name: r.sum(2) for name, r in regrets.items()}
    points = [t for t in POINTS if t <= n]
    rows = [
        (
            name,
            *(f"{regrets[name][:, :, t - 1].mean():.3f}" for t in points),
            _total(total),
            each_seed(total, 2),
            *(in_words(difference(totals[rival], total), 2) if name in runs else "" for rival in RIVALS),
        )
        for name, total in sorted(totals.items(), key=lambda item: -item[1].mean())
    ]
    table = Table(
        f"MovieLens 100k, {family.slate} films on a slate: regret in stars, {seeds} seeds × {USERS} meetings with unseen users",
        (
            "", *(f"interaction {t}" for t in points), f"all {n} together", "each seed",
            *(f"below {rival}'s by" for rival in RIVALS),
        ),
        rows,
        "Against the expected rating of the best film of a slate. Settings of the references are chosen on training users. MAML "
        f"adapts once, after {n // 2} interactions. Differences of all {n} together, with 95% intervals.",
    )  # fmt: skip
    claims = []
    for name in runs:
        halves = regrets[name][:, :, n // 2 :].mean(2), regrets[name][:, :, : n // 2].mean(2)
        alone = regrets["multi-task"][:, :, n // 2 :].mean(2)
        gains = [difference(other, halves[0]) for other in (halves[1], alone)]
        claims.append(
            Claim(
                f"{name}: in the second half of the interactions its regret is lower than in the first by {in_words(gains[0], 3)} "
                f"and than the multi-task learner's by {in_words(gains[1], 3)}",
                min(low for _, low, _ in gains) > 0,
            )
        )
        lead = difference(totals["popularity"], totals[name])
        claims.append(
            Claim(
                f"{name}: over {n} interactions its regret is below popularity's by {in_words(lead, 2)} stars",
                lead[1] > 0,
            )
        )
    plot = Plot(
        "Regret by interaction",
        "interactions with a user",
        "regret, stars",
        [_line(k, r) for k, r in regrets.items()],
    )
    folders = [run.directory for m in (*runs.values(), joint) for run in m if run.directory]
    return Outcome([table], claims, folders, [plot])


def offered(family: RecommenderSlates, split: str, users: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What is told of each item on as many slates as a lifetime has [B, T, m, d], with a 1, and its rating [B, T, m]."""
    tasks = test_tasks(family, split, users, EVALUATION_SEED)  # type: ignore[arg-type]
    keys = jax.random.split(jax.random.key(seed), (users, family.interactions))
    reset = jax.jit(jax.vmap(jax.vmap(lambda k, task: family.reset(k, task)[0], (0, None))))
    rows = np.asarray(reset(keys, jnp.asarray(tasks)))
    known = family.ratings.known[rows]
    return np.concatenate([known, np.ones_like(known[..., :1])], -1), family.ratings.table.rating[rows]


def played(
    family: RecommenderSlates, policy: Policy | None, x: np.ndarray, rating: np.ndarray, seed: int
) -> np.ndarray:
    ratings = family.ratings
    rows = np.flatnonzero(~ratings.test_user[ratings.table.user] & ~ratings.new_item[ratings.table.item])
    told = np.column_stack([ratings.known[rows], np.ones(len(rows))])
    weights = average_weights(told, ratings.table.rating[rows], ratings.fit.mean)
    return play(policy, x, rating, weights, ratings.fit.mean, np.random.default_rng(seed))


def references(family: RecommenderSlates) -> dict[str, Policy | None]:
    """Each with the setting that earns most on training users."""
    x, rating = offered(family, "train", USERS, 0)
    earned = lambda policy: played(family, policy, x, rating, 0).mean()  # noqa: E731
    return {name: max(grid, key=earned) for name, grid in grids().items()}


def _total(totals: np.ndarray) -> str:
    low, high = statistics.interval(totals, "mean")
    return f"{totals.mean():.2f} [{low:.2f}, {high:.2f}]"


def _line(name: str, regrets: np.ndarray) -> Line:
    points = range(regrets.shape[2])
    intervals = [statistics.interval(regrets[:, :, t], "mean") for t in points]
    return Line(
        name,
        [t + 1.0 for t in points],
        list(regrets.mean((0, 1))),
        [i[0] for i in intervals],
        [i[1] for i in intervals],
    )
