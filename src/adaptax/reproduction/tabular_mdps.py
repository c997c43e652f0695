"""Learners that remember on random tabular MDPs, beside the reference learners: table 1b of Duan et al. 2016."""

from __future__ import annotations

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
from adaptax.tasks.mdp_policies import NO_PRIOR, Prior, play, reference_policies
from adaptax.tasks.tabular import TabularMDP
from adaptax.training.train import Report

PROCESSES = 1000
"""Unseen processes that every policy meets."""

NAMES = ("random", "psrl", "opsrl", "ucrl2", "beb", "epsilon-greedy", "greedy", "rl2", "snail")
PUBLISHED: dict[int, tuple[float, ...]] = {
    10: (100.1, 138.1, 144.1, 146.6, 150.2, 132.8, 134.8, 156.2, 159.1),
    25: (250.2, 408.8, 425.2, 424.1, 427.8, 377.3, 368.8, 445.7, 447.2),
    50: (499.7, 904.4, 930.7, 918.9, 917.8, 823.3, 769.3, 936.1, 942.3),
    75: (749.9, 1417.1, 1449.2, 1427.6, 1422.6, 1293.9, 1172.9, 1428.8, 1447.5),
    100: (999.4, 1939.5, 1973.9, 1942.1, 1935.1, 1778.2, 1578.5, 1913.7, 1953.1),
}
"""By episodes: Duan et al. 2016, table 1b; SNAIL: Mishra et al. 2018, table 2, in rewards as pytorch_rl2 gives them."""

AS_PUBLISHED = " (as published)"
PUBLISHED_PRIORS = (
    (Prior(reward_mean=0.0), ("psrl", "opsrl", "beb")),
    (NO_PRIOR, ("ucrl2", "epsilon-greedy", "greedy")),
)
"""What the published references knew beforehand, and which of them."""
KNOWN_LESS = tuple(name for _, names in PUBLISHED_PRIORS for name in names)

RL2_10 = RL2(
    tasks=256, hidden=128, embedding=64, policy_hidden=(64,), lr=4e-3, lr_decay=0.9992, gamma=0.95, gae_lambda=0.3, entropy=0.03,
    entropy_decay=0.9992, epochs=3, minibatches=8,
)  # fmt: skip
"""Ten states with five actions are fifty numbers to be kept: layers before and after the memory help to write and to read them."""
SNAIL_10 = SNAIL(tasks=256, gae_lambda=0.8, entropy=0.03, entropy_decay=0.997, epochs=3)
TRANSFORMER_10 = Transformer(tasks=128, lr=1e-3, gae_lambda=0.8, entropy=0.03, entropy_decay=0.997, epochs=3)


def cell(episodes: int, minutes: int) -> Figure:
    """The figure of a cell."""
    learners = {
        "rl2": Learner(RL2_10, 3000, goal=152.0 if episodes == 10 else None),
        "snail": Learner(SNAIL_10, 1500),
        "transformer": Learner(TRANSFORMER_10, 1000),
    }

    def run(directory: Path, report: Report, seeds: int = 1) -> Outcome:
        family = TabularMDP(episodes=episodes)
        several = {name: m.with_seeds(seeds) for name, m in learners.items()}
        runs = train_learners(several, family, directory, report)
        tasks = test_tasks(family, "test", PROCESSES, EVALUATION_SEED)
        P, R = (np.asarray(x, np.float64) for x in (tasks.transition, tasks.reward))
        tuning_key, playing_key = jax.random.split(keys.begin(jax.random.key(EVALUATION_SEED)))
        policies = reference_policies(family, tuning_key)
        for prior, names in PUBLISHED_PRIORS:
            tuned = reference_policies(family, tuning_key, prior=prior, names=names)
            policies |= {name + AS_PUBLISHED: policy for name, policy in tuned.items()}
        references = {
            name: play(policy, P, R, family.horizon, episodes, playing_key).sum(1)
            for name, policy in policies.items()
        }
        optimal = float(np.asarray(jax.vmap(family.optimal)(tasks)).mean() * episodes)
        table = lifetime_table(
            title=f"Tabular MDPs, {episodes} episodes: mean total reward over {PROCESSES:,} unseen processes",
            runs=runs,
            goals={name: m.goal for name, m in learners.items() if m.goal is not None},
            references=references,
            published={
                name + AS_PUBLISHED if name in KNOWN_LESS else name: value
                for name, value in zip(NAMES, PUBLISHED[episodes], strict=True)
            },
            ceilings={"told the process (exact)": optimal},
            tasks=PROCESSES,
            source="published",
            note="Every policy meets the same processes. The references know the prior that these are drawn from; those marked "
            f"“{AS_PUBLISHED.strip()}” have the priors of the published ones, which were others. Their parameters are tuned on "
            "other processes. Published: Duan et al. 2016; SNAIL: Mishra et al. 2018.",
            above={"rl2": [name + AS_PUBLISHED for name in ("psrl", "beb")]} if episodes == 10 else None,
        )
        return table + learning_within(runs, PROCESSES, directory, report)

    rl2, snail = PUBLISHED[episodes][-2:]
    return Figure(
        f"RL², SNAIL, Transformer on tabular MDPs, {episodes} episodes",
        f"RL² {rl2:g} (Duan et al. 2016), SNAIL {snail:g} (Mishra et al. 2018)",
        minutes,
        run,
        with_seeds=run,
    )


CELLS: dict[str, Figure] = {
    f"mdp-{episodes}": cell(episodes, minutes)
    for episodes, minutes in {10: 200, 25: 500, 50: 1000, 75: 1500, 100: 2000}.items()
}
"""The whole table; all but the first take hours."""
