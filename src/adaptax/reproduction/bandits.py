"""Learners that remember on Bernoulli bandits, beside the reference policies (Duan et al. 2016; Mishra et al. 2018)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from adaptax import keys
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.snail import SNAIL
from adaptax.algorithms.transformer import Transformer
from adaptax.evaluation.evaluate import EVALUATION_SEED, test_tasks
from adaptax.reports.outcome import Outcome
from adaptax.reproduction.figure import Figure
from adaptax.reproduction.lifetime_tables import Learner, learning_within, lifetime_table, train_learners
from adaptax.tasks.bandit_planning import bayes_optimal_value
from adaptax.tasks.bandit_policies import play, reference_policies
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume

CELL_10_5 = RL2(
    tasks=1024, hidden=64, lr=5e-3, gae_lambda=0.9, entropy=0.08, entropy_decay=0.98, epochs=2, minibatches=4
)
"""RL² for 10 pulls."""
CELL_100_5 = RL2(
    tasks=256, hidden=64, lr=2e-3, gae_lambda=0.9, entropy=0.1, entropy_decay=0.997, epochs=2, minibatches=4
)
"""RL² for 100 pulls."""

REFERENCES = ("random", "gittins", "thompson", "optimistic-thompson", "ucb1", "epsilon-greedy", "greedy")
LEARNERS = ("rl2", "snail")
PUBLISHED: dict[tuple[int, int], tuple[float | None, ...]] = {
    (10, 5): (5.0, 6.6, 5.7, 6.5, 6.7, 6.6, 6.6, 6.7, 6.6),
    (10, 10): (5.0, 6.6, 5.5, 6.2, 6.7, 6.6, 6.6, 6.7, 6.7),
    (10, 50): (5.1, 6.5, 5.2, 5.5, 6.6, 6.5, 6.5, 6.8, 6.7),
    (100, 5): (49.9, 78.3, 74.7, 77.9, 78.0, 75.4, 74.8, 78.7, 79.1),
    (100, 10): (49.9, 82.8, 76.7, 81.4, 82.4, 77.4, 77.1, 83.5, 83.5),
    (100, 50): (49.8, 85.2, 64.5, 67.7, 84.3, 78.3, 78.0, 84.9, 85.1),
    (500, 5): (249.8, 405.8, 402.0, 406.7, 405.8, 388.2, 380.6, 401.6, 408.1),
    (500, 10): (249.0, 437.8, 429.5, 438.9, 437.1, 408.0, 395.0, 432.5, 432.4),
    (500, 50): (249.6, 463.7, 427.2, 437.6, 457.6, 413.6, 402.8, 438.9, 442.6),
}
"""(pulls, arms): Duan et al. 2016, table 1, means over 1,000 bandits; SNAIL: Mishra et al. 2018, table 1."""


LEARNING_TASKS = 2000
"""Unseen bandits on which the last pull is compared with the first."""


def unseen(pulls: int) -> int:
    """How many unseen bandits every policy meets."""
    return max(1000, min(20_000, 1_000_000 // pulls))


def train_cell(
    config: RL2, arms: int, pulls: int, updates: int, directory: Path, report: Report, seed: int = 0
) -> Run:
    """Meta-trains RL² for one cell of the table."""
    return train_or_resume(config, BernoulliBandit(arms, pulls), updates, seed, directory, report)


def bandit_table(runs: Mapping[str, Sequence[Run]], goals: Mapping[str, float]) -> Outcome:
    """Mean total reward of learners, and of every reference policy, over the same unseen bandits."""
    family = next(iter(runs.values()))[0].family
    assert isinstance(family, BernoulliBandit)
    arms, pulls, bandits = family.arms, family.pulls, unseen(family.pulls)
    key = jax.random.key(EVALUATION_SEED)
    means = np.asarray(test_tasks(family, "test", bandits, EVALUATION_SEED))
    tuning_key, playing_key = jax.random.split(keys.begin(key))
    references = {
        name: play(policy, means, pulls, playing_key).sum(1)
        for name, policy in reference_policies(arms, pulls, tuning_key).items()
    }
    known = zip((*REFERENCES, *LEARNERS), PUBLISHED.get((pulls, arms), ()), strict=False)
    return lifetime_table(
        title=f"Bernoulli bandits, {arms} arms, {pulls} pulls: mean total reward over {bandits:,} unseen bandits",
        runs=runs,
        goals=goals,
        references=references,
        published={name: value for name, value in known if value is not None},
        ceilings={"Bayes-optimal (exact)": bayes_optimal_value(arms, pulls)} if pulls <= 10 else {},
        tasks=bandits,
        source="published",
        note="Every policy meets the same bandits. Parameters of the references are tuned on other bandits. Published: Duan et al. "
        "2016, which seem to be the best of five training seeds; SNAIL: Mishra et al. 2018.",
        not_below="greedy" if pulls <= 10 else None,
    )


# --- the cells ---------------------------------------------------------------------------------

SMALL_SNAIL = {"hidden": 16, "filters": 16, "keys": 16, "values": 16, "gae_lambda": 0.9, "epochs": 2}
SNAIL_10 = SNAIL(tasks=1024, lr=3e-3, entropy=0.08, entropy_decay=0.98, **SMALL_SNAIL)
SNAIL_100 = SNAIL(tasks=256, lr=3e-3, lr_decay=0.998, entropy=0.1, entropy_decay=0.993, **SMALL_SNAIL)
SMALL_TRANSFORMER = {"width": 32, "gae_lambda": 0.9, "epochs": 2}
TRANSFORMER_10 = Transformer(
    tasks=1024, lr=3e-3, lr_decay=0.99, entropy=0.08, entropy_decay=0.98, **SMALL_TRANSFORMER
)
TRANSFORMER_100 = Transformer(
    tasks=256, lr=2e-3, lr_decay=0.998, entropy=0.1, entropy_decay=0.993, **SMALL_TRANSFORMER
)


MANY_ARMS = 50
"""With so many it takes long until one that pays is pulled twice; step sizes fall more slowly then, and training takes longer."""


def learners(pulls: int, arms: int) -> dict[str, Learner]:
    """What is trained for a cell, by what two cores can do."""
    if pulls <= 10 and arms >= MANY_ARMS:
        return {
            "rl2": Learner(dataclasses.replace(CELL_10_5, lr_decay=0.998), 1200, goal=6.6, seeds=5),
            "snail": Learner(SNAIL_10, 400, goal=6.6, seeds=5),
            "transformer": Learner(
                dataclasses.replace(TRANSFORMER_10, lr=2e-3, lr_decay=0.998), 1000, goal=6.6, seeds=5
            ),
        }
    if pulls <= 10:
        return {
            "rl2": Learner(CELL_10_5, 600, goal=6.6, seeds=5),
            "snail": Learner(SNAIL_10, 400, goal=6.6, seeds=5),
            "transformer": Learner(TRANSFORMER_10, 400, goal=6.6, seeds=5),
        }
    if pulls <= 100:
        return {
            "rl2": Learner(CELL_100_5, 2000),
            "snail": Learner(SNAIL_100, 1000, goal=77.5 if (pulls, arms) == (100, 5) else None),
            "transformer": Learner(TRANSFORMER_100, 600),
        }
    configs = {"rl2": CELL_100_5, "snail": SNAIL_100, "transformer": TRANSFORMER_100}
    return {name: Learner(dataclasses.replace(config, tasks=64), 1000) for name, config in configs.items()}


def cell(pulls: int, arms: int, minutes: int) -> Figure:
    """The figure of a cell."""

    def run(directory: Path, report: Report, seeds: int = 1) -> Outcome:
        trained = {name: m.with_seeds(seeds) for name, m in learners(pulls, arms).items()}
        runs = train_learners(trained, BernoulliBandit(arms, pulls), directory, report)
        table = bandit_table(runs, {name: m.goal for name, m in trained.items() if m.goal is not None})
        return table + learning_within(runs, LEARNING_TASKS, directory, report)

    rl2, snail = PUBLISHED[pulls, arms][-2:]
    return Figure(
        f"RL², SNAIL, Transformer on {arms}-armed bandits, {pulls} pulls",
        f"RL² {rl2:g} (Duan et al. 2016), SNAIL {snail:g} (Mishra et al. 2018)",
        minutes,
        run,
        with_seeds=run if pulls > 10 else None,
    )


CELLS: dict[str, Figure] = {
    f"bandit-{pulls}-{arms}": cell(pulls, arms, minutes)
    for (pulls, arms), minutes in {
        (10, 5): 30, (10, 10): 30, (10, 50): 40, (100, 5): 40, (100, 10): 45, (100, 50): 60,
        (500, 5): 200, (500, 10): 200, (500, 50): 240,
    }.items()
}  # fmt: skip
"""The whole table; the cells of 500 pulls take hours."""
