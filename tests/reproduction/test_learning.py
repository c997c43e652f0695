"""The multi-task learner beside a method: as many environment steps, and not many more."""

from __future__ import annotations

import pytest

from adaptax.reproduction import learning
from adaptax.tasks.cartpole import CartPole
from adaptax.training.run import Run


class FakeRun(Run):
    """A run of which nothing is known but how long it took."""

    def __init__(self, updates: int, env_steps: int):
        self.taken = (updates, env_steps)

    updates = property(lambda self: self.taken[0])
    env_steps = property(lambda self: self.taken[1])


@pytest.mark.parametrize("asked", [50_000, 1_000_000, 5_000_000])
@pytest.mark.parametrize("growth", [0.0, 2_000.0])
def test_it_is_trained_as_long_whether_or_not_episodes_grow(asked, growth, monkeypatch, tmp_path):
    """An update takes 15,000 steps at first and up to 128,000 when episodes are full."""
    of_update = [min(15_000 + growth * k, 128_000) for k in range(1000)]
    trained = []

    def train_or_resume(config, family, updates, seed, directory, report):
        assert not trained or updates > trained[-1]
        trained.append(updates)
        return FakeRun(updates, int(sum(of_update[:updates])))

    monkeypatch.setattr(learning, "train_or_resume", train_or_resume)
    run = learning.train_as_long(CartPole(horizon=200), asked, 0, tmp_path, lambda progress: None)
    assert asked <= run.env_steps <= 1.3 * asked + 128_000
    assert len(trained) < 20


def test_an_interrupted_training_is_not_gone_on_with(monkeypatch, tmp_path):
    monkeypatch.setattr(learning, "train_or_resume", lambda *_: FakeRun(1, 10))
    run = learning.train_as_long(CartPole(horizon=200), 10_000_000, 0, tmp_path, lambda progress: None)
    assert run.updates == 1
