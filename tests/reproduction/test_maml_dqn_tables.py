"""MAML-DQN beside its rivals: what is claimed, and after how many episodes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adaptax.algorithms.dqn import DQN
from adaptax.reproduction import q_learning
from adaptax.reproduction.q_learning import BY_FEW, EPISODES, SCRATCH, TUNED, claim, learns, table
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


@pytest.mark.parametrize("ahead", ["no one", "itself", "multi-task"])
def test_a_variant_learns_where_it_is_ahead_of_itself_and_of_the_multi_task_learner(ahead):
    variant = curve(95 if ahead == "itself" else 10, 50, 90, 95, 99)
    multi_task = curve(95 if ahead == "multi-task" else 40, *[100] * 4)[:, :, 0]
    assert learns("fomaml-dqn", variant, multi_task).holds == (ahead == "no one")


def test_the_table_tells_leads_after_few_episodes_and_after_all():
    rows = {
        row[0]: row[1:]
        for row in table("", {"maml-dqn": OURS} | BEHIND, dict.fromkeys(("maml-dqn", *BEHIND), 5.0)).rows
    }
    few, last = len(EPISODES), len(EPISODES) + 1
    assert rows["maml-dqn"][few] == rows["maml-dqn"][last] == ""
    assert rows[SCRATCH][few].startswith("+78.0") and rows[SCRATCH][last].startswith("-21.0")


def test_points_are_those_after_so_many_episodes(monkeypatch, tmp_path):
    """Episode e of an unseen task comes after e others: it earns e here. What was met is kept under the kind of tasks."""
    asked, kept = [], []

    def evaluate(members, split, tasks, episodes, *, family, label):
        asked.append((split, tasks, episodes, label))
        earned = np.broadcast_to(np.arange(float(episodes)), (len(members), tasks, episodes))
        return SimpleNamespace(curve=lambda: earned, save=kept.append)

    monkeypatch.setattr(q_learning, "evaluate", evaluate)
    family = CartPole(horizon=5)
    run = train(DQN(hidden=(4,), batch=2), family, 0, report=silent)
    points = q_learning.after_episodes([run, run], family, "tuned", tmp_path, "poles")
    np.testing.assert_array_equal(points, np.broadcast_to(EPISODES, (2, q_learning.TASKS, len(EPISODES))))
    assert asked == [("test", q_learning.TASKS, 11, "tuned")] and kept == []
    run.directory = tmp_path / "tuned" / "seed-0"
    for kind, file in (("poles", "test-poles"), ("", "test")):
        q_learning.after_episodes([run], family, "tuned", tmp_path, kind)
        assert kept.pop() == tmp_path / "tuned" / "evaluation" / f"{file}.safetensors"
