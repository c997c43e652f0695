"""MAML-DQN beside its rivals: what is claimed, and after how many episodes."""

from __future__ import annotations

import numpy as np
import pytest

from adaptax.algorithms.dqn import DQN
from adaptax.reproduction import q_learning
from adaptax.reproduction.q_learning import BY_FEW, EPISODES, SCRATCH, TUNED, claim, table
from adaptax.tasks.cartpole import CartPole
from adaptax.training.progress import silent
from adaptax.training.train import train


def curve(*returns: float) -> np.ndarray:
    """[2 seeds, 30 tasks, EPISODES] about these returns."""
    return np.array(returns) + np.random.default_rng(0).normal(0.0, 0.1, (2, 30, len(EPISODES)))


OURS = curve(10, 50, 90, 95, 99)
BEHIND = {TUNED: curve(40, 45, 60, 80, 99), SCRATCH: curve(10, 11, 12, 40, 120)}


@pytest.mark.parametrize("ahead", ["no one", "its unadapted self", "multi-task dqn", TUNED, SCRATCH])
def test_it_must_be_ahead_of_all_after_a_few_episodes(ahead):
    """After ten it need not be."""
    curves = {"maml-dqn": OURS} | {name: c.copy() for name, c in BEHIND.items()}
    where = {
        "its unadapted self": ("maml-dqn", 0),
        "multi-task dqn": (TUNED, 0),
        TUNED: (TUNED, BY_FEW),
        SCRATCH: (SCRATCH, BY_FEW),
    }
    if ahead in where:
        name, at = where[ahead]
        curves[name] = curves[name].copy()
        curves[name][:, :, at] = 95.0
    found = claim("maml-dqn", curves)
    assert found.holds == (ahead == "no one") and "after 2 episodes" in found.sentence


def test_the_table_tells_leads_after_few_episodes_and_after_all():
    rows = {
        row[0]: row[1:]
        for row in table("", {"maml-dqn": OURS} | BEHIND, dict.fromkeys(("maml-dqn", *BEHIND), 5.0)).rows
    }
    few, last = len(EPISODES), len(EPISODES) + 1
    assert rows["maml-dqn"][few] == rows["maml-dqn"][last] == ""
    assert rows[SCRATCH][few].startswith("+78.0") and rows[SCRATCH][last].startswith("-21.0")


def test_points_are_those_after_so_many_episodes(monkeypatch, tmp_path):
    """A learner that fine-tunes is met eleven times, one that does not once: it stays what it is."""
    monkeypatch.setattr(q_learning, "TASKS", 3)
    family = CartPole(horizon=5)
    tuned, fixed = (
        [train(DQN(hidden=(4,), batch=2, fine_tune_steps=n), family, 0, report=silent)] for n in (1, 0)
    )
    assert q_learning.after_episodes(tuned, family, "tuned", tmp_path, "").shape == (1, 3, len(EPISODES))
    alone = q_learning.after_episodes(fixed, family, "fixed", tmp_path, "")
    assert alone.shape == (1, 3, len(EPISODES))
