"""The stages of T-NAS: what is searched is what is trained anew, and claims need both gains, or a lead over MAML's network."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from families import Pictures

from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.t_nas import TNAS
from adaptax.reproduction import cell_search
from adaptax.reproduction.cell_search import (
    SMALL,
    Stages,
    best_of_drawn,
    claims,
    found,
    late_accuracy,
    staged,
)
from adaptax.training.progress import silent
from adaptax.training.run import Run, load_run

TINY = TNAS(tasks=2, channels=2, cells=1, nodes=1)
STAGES = Stages(
    Pictures(),
    TINY,
    0,
    TINY,
    MAML(tasks=2, hidden=(2,)),
    0,
    MultiTask(tasks=2, hidden=(2,), minibatches=1),
    tasks=4,
)


def test_what_was_searched_is_trained_anew_beside_the_network_made_by_hand(tmp_path, monkeypatch):
    """Seed by seed: the second search has found another cell than the first."""
    mixtures = [jnp.array([[0.0, 0.0, 0.0, 1.0]]), jnp.array([[0.0, 2.0, 0.0, 1.0]])]
    monkeypatch.setattr(cell_search, "searched_mixture", lambda run: mixtures[run.seed])
    result = staged(STAGES, tmp_path, silent, seeds=2)
    again = [load_run(tmp_path / "decoded" / f"seed-{seed}")[0].config for seed in range(2)]
    assert again == [dataclasses.replace(TINY, cell=(cell,)) for cell in ("skip", "conv5")]
    accuracies, cells = result.tables
    assert [row[0] for row in accuracies.rows] == ["t-nas", "decoded", "random", "maml", "multi-task"]
    assert all(len(row) == len(accuracies.columns) for row in accuracies.rows)
    assert [row[1] for row in cells.rows] == ["skip", "conv5"]
    least, most = (int(n) for n in accuracies.rows[1][-3].split(" to "))
    assert most - least == 25 * 2 * 2 + 2 * 2  # a kernel, gains and shifts
    assert len(result.folders) == 10 and len(result.plots[0].lines) == 5
    assert staged(STAGES, tmp_path, silent, seeds=2).tables[0].rows == accuracies.rows


def curve(*percents: float) -> np.ndarray:
    """[3 seeds, 40 tasks, points] about these accuracies."""
    return np.array(percents) / 100 + np.random.default_rng(0).normal(0.0, 0.02, (3, 40, len(percents)))


@pytest.mark.parametrize(
    ("own", "alone", "again", "drawn", "holds"),
    [
        (20, 21, 90, 70, [True, True, True]), (72, 21, 90, 90.1, [False, False, True]), (20, 72, 90, 70, [False, True, True]),
        (20, 21, 80, 70, [True, True, False]),
    ],
)  # fmt: skip
def test_gains_are_on_the_unadapted_self_the_multi_task_network_random_cells_and_mamls(
    own, alone, again, drawn, holds
):
    curves = {
        "t-nas": curve(own, 50, 70), "multi-task": curve(alone), "decoded": curve(20, 60, again),
        "random": curve(20, 60, drawn), "maml": curve(20, 60, 80),
    }  # fmt: skip
    curves["maml"] = curves["maml"] + 0.001
    assert [claim.holds for claim in claims(curves, 300)] == holds


def test_random_search_is_given_as_many_updates_and_keeps_the_best(tmp_path, monkeypatch):
    """200 updates of the search and 250 after it pay for two cells; the better on late training tasks is met."""
    assert SMALL.drawn == 2 and len(SMALL.all_cells) == 4**3
    stages = dataclasses.replace(STAGES, search_updates=3, updates=2)
    assert stages.drawn == 3
    asked = []

    class Told(Run):
        def __init__(self, cell, late):
            self.cell, self.late = cell, late

        def metrics(self):
            return [{"return": 9.0}] * 8 + [{"return": self.late}] * 2

    def with_cell(stages, cell, seed, directory, report):
        asked.append(cell)
        return Told(cell, {"max-pool": 0.9}.get(cell[0], 0.1))

    monkeypatch.setattr(cell_search, "with_cell", with_cell)
    for seed in range(8):
        best = best_of_drawn(stages, seed, tmp_path, silent)
        assert isinstance(best, Told)
        drawn, asked = asked, []
        assert len(set(drawn)) == 3
        assert ("max-pool",) not in drawn or best.cell == ("max-pool",)
    assert late_accuracy(Told((), 0.5)) == 0.5


def test_a_cell_is_told_with_the_tasks_that_would_have_it():
    cell = ("max-pool",)
    table = found([jnp.log(jnp.array([[1.0, 1.0, 6.0, 2.0]]))], [[cell, cell, ("skip",), ("conv3",)]])
    assert table.rows == [["0", "max-pool", "0.60", "50%", "3"]]
