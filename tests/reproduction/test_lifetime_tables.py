"""Totals of lifetimes in one table: what is claimed of learners beside references, on the same tasks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adaptax.reproduction import lifetime_tables
from adaptax.reproduction.bandits import CELLS as BANDITS
from adaptax.reproduction.lifetime_tables import lifetime_table
from adaptax.reproduction.tabular_mdps import CELLS as MDPS
from adaptax.reproduction.tabular_mdps import KNOWN_LESS, NAMES
from adaptax.training.run import Run


class FakeRun(Run):
    """A run of which nothing is known but where it lies."""

    def __init__(self, directory: Path):
        self.directory = directory


LUCK = np.random.default_rng(0).normal(size=400)
"""What a task is worth to everyone: far more than what learners differ by."""


@pytest.fixture
def table(monkeypatch, tmp_path):
    """A table of learners that earn `rl2` and `snail` more than the luck of a task."""

    def made(rl2, snail, **claimed):
        earned = {"rl2": rl2, "snail": snail}
        runs = {name: [FakeRun(tmp_path / name)] * len(x) for name, x in earned.items()}
        results = {
            name: SimpleNamespace(
                scores=lambda x=x: 10 * LUCK + np.array(x)[:, None] + 0.1 * np.random.default_rng(1).normal(size=400),
                save=lambda path: None,
            )
            for name, x in earned.items()
        }  # fmt: skip
        monkeypatch.setattr(lifetime_tables, "evaluate", lambda runs, split, tasks, label: results[label])
        references = {"psrl": 10 * LUCK + 5.0, "beb": 10 * LUCK + 7.0}
        return lifetime_table(
            "T",
            runs,
            claimed.pop("goals", {}),
            references,
            {"psrl": 138.1},
            {"optimum": 9.0},
            400,
            "published",
            "",
            **claimed,
        )

    return made


def holds(outcome):
    return [claim.holds for claim in outcome.claims]


def test_goals_are_for_the_mean_of_all_seeds(table):
    shift = 10 * LUCK.mean()
    goals = {"rl2": float(shift + 6.0), "snail": float(shift + 6.0)}
    assert holds(table([9.0, 2.0, 4.0], [7.0, 6.5, 5.5], goals=goals)) == [False, True]


def test_differences_are_paired_over_tasks(table):
    """The luck of tasks is ten times what learners differ by; over the same tasks it goes out."""
    above = {"rl2": ["psrl", "beb"], "snail": ["psrl", "beb"]}
    assert holds(table([6.0], [7.2], above=above)) == [True, False, True, True]
    assert holds(table([7.0], [6.8], not_below="beb")) == [True, False]


def test_what_is_above_is_so_with_its_whole_interval(table):
    """A mean of +0.005 with a standard error of 0.005 is not above; one of +0.03 is."""
    noise = 0.1 * np.random.default_rng(1).normal(size=400).mean()
    for ahead, is_above in ((0.005, False), (0.03, True)):
        assert holds(table([float(5.0 + ahead - noise)], [6.0], above={"rl2": ["psrl"]})) == [is_above]


def test_every_seed_stands_in_the_table_in_order_of_the_means(table):
    rows = table([9.0, 2.0], [6.0, 6.5]).tables[0].rows
    assert [row[0] for row in rows] == ["psrl", "rl2", "snail", "beb", "optimum"]
    shift = 10 * LUCK.mean()
    seeds = [float(x) for x in rows[1][3].split()]
    np.testing.assert_allclose(seeds, [shift + 9.0, shift + 2.0], atol=0.05)
    assert rows[0][-1] == "138.1" and rows[1][-1] == ""


def test_the_cells_are_those_of_the_papers():
    assert len(BANDITS) == 9 and len(MDPS) == 5
    assert set(KNOWN_LESS) < set(NAMES) and not {"rl2", "snail", "random"} & set(KNOWN_LESS)
