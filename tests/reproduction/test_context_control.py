"""Sparse navigation against environment steps: a second call tells the same, whatever the runs have become."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from adaptax.algorithms.rl2 import RL2
from adaptax.errors import AdaptaxError
from adaptax.reproduction import context_control, gradient_methods
from adaptax.reproduction.context_control import met_after
from adaptax.reproduction.gradient_methods import Method
from adaptax.tasks.point_navigation import SparsePointNavigation
from adaptax.training.progress import silent

METHOD = Method("rl2", RL2(tasks=4, hidden=4, episodes=2, epochs=1, minibatches=1, lr=0.1), 4)


def test_what_was_met_on_the_way_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_methods, "SEEDS", 1)
    monkeypatch.setattr(context_control, "SPARSE_TASKS", 5)
    # Paid at every step: what differs then differs in returns too.
    monkeypatch.setattr(context_control, "SPARSE", SparsePointNavigation(reward="dense"))
    half, whole = (met_after(METHOD, share, tmp_path, silent)[1] for share in (0.5, 1.0))
    assert half.training_env_steps[0] * 2 == whole.training_env_steps[0]
    assert not np.array_equal(half.returns, whole.returns) or not np.array_equal(half.lengths, whole.lengths)
    runs, again = met_after(METHOD, 0.5, tmp_path, silent)
    np.testing.assert_array_equal(again.returns, half.returns)
    assert runs[0].updates == 4 and again.training_env_steps == half.training_env_steps
    shutil.rmtree(tmp_path / "rl2/shares")
    with pytest.raises(AdaptaxError, match="gone beyond 2 meta-updates"):
        met_after(METHOD, 0.5, tmp_path, silent)
