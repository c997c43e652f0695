"""RL² on Bernoulli bandits beside the reference policies: the cells of Duan et al. 2016, table 1."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from adaptax import keys, statistics
from adaptax.algorithms.rl2 import RL2
from adaptax.evaluation.evaluate import EVALUATION_SEED, evaluate, test_tasks
from adaptax.reproduction.outcome import Claim, Outcome, Table
from adaptax.tasks.bandit_planning import bayes_optimal_value
from adaptax.tasks.bandit_policies import play, reference_policies
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume

BANDITS = 20_000
"""Unseen bandits that every policy meets."""

CELL_10_5 = RL2(
    tasks=1024, hidden=64, lr=5e-3, gae_lambda=0.9, entropy=0.08, entropy_decay=0.98, epochs=2, minibatches=4
)
"""For 10 pulls of 5 arms."""
CELL_100_5 = RL2(
    tasks=256, hidden=64, lr=2e-3, gae_lambda=0.9, entropy=0.1, entropy_decay=0.997, epochs=2, minibatches=4
)
"""For 100 pulls of 5 arms."""

# Duan et al. 2016, table 1 (means over 1,000 bandits).
PUBLISHED = {
    (10, 5): {"random": 5.0, "gittins": 6.6, "thompson": 5.7, "optimistic-thompson": 6.5, "ucb1": 6.7,
              "epsilon-greedy": 6.6, "greedy": 6.6, "rl2": 6.7},
    (100, 5): {"random": 49.9, "gittins": 78.3, "thompson": 74.7, "optimistic-thompson": 77.9, "ucb1": 78.0,
               "epsilon-greedy": 75.4, "greedy": 74.8, "rl2": 78.7},
}  # fmt: skip


def train_cell(
    config: RL2, arms: int, pulls: int, updates: int, directory: Path, report: Report, seed: int = 0
) -> Run:
    """Meta-trains RL² for one cell of the table."""
    return train_or_resume(config, BernoulliBandit(arms, pulls), updates, seed, directory, report)


def bandit_table(run: Run, target: float) -> Outcome:
    """Mean total reward of RL² and of every reference policy over the same unseen bandits."""
    family = run.family
    assert isinstance(family, BernoulliBandit)
    arms, pulls = family.arms, family.pulls
    result = evaluate(run, "test", BANDITS)
    assert run.directory is not None
    result.save(run.directory / "evaluation" / "test.safetensors")
    scores = {"rl2": result.scores()[0]}

    key = jax.random.key(EVALUATION_SEED)
    means = np.asarray(test_tasks(family, "test", BANDITS, EVALUATION_SEED))
    tuning_key, playing_key = jax.random.split(keys.begin(key))
    for name, policy in reference_policies(arms, pulls, tuning_key).items():
        scores[name] = play(policy, means, pulls, playing_key).sum(1)

    published = PUBLISHED[pulls, arms]
    rows = []
    for name in sorted(scores, key=lambda n: scores[n].mean()):
        low, high = statistics.normal_interval(scores[name])
        rows.append(
            (name, f"{scores[name].mean():.3f}", f"[{low:.3f}, {high:.3f}]", f"{published[name]:.1f}")
        )
    if pulls <= 10:
        rows.append(("Bayes-optimal (exact)", f"{bayes_optimal_value(arms, pulls):.3f}", "", ""))
    mean = float(scores["rl2"].mean())
    behind = scores["greedy"] - scores["rl2"]
    low, _ = statistics.normal_interval(behind)
    claims = [Claim(f"RL² earns {mean:.3f} ≥ {target} in {pulls} pulls", mean >= target)]
    if pulls <= 10:
        claims.append(
            Claim(f"RL² is not significantly below greedy (difference {-behind.mean():+.3f})", low <= 0)
        )
    table = Table(
        title=f"Bernoulli bandits, {arms} arms, {pulls} pulls: mean total reward over {BANDITS:,} unseen bandits",
        header=("policy", "mean", "95% interval", "Duan et al. 2016"),
        rows=rows,
        note="Every policy meets the same bandits. Parameters of the references are tuned on other bandits.",
    )
    return Outcome([table], claims, [run.directory])
