"""A search as a folder: the same trials however it is interrupted, and a crash is a trial that failed."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from families import Corridor

from adaptax.algorithms.maml import MAML
from adaptax.algorithms.rl2 import RL2
from adaptax.errors import AdaptaxError
from adaptax.evaluation.folder import run_summaries
from adaptax.search import run as search_run
from adaptax.search import table as search_table
from adaptax.search.halving import Halving
from adaptax.search.outcome import outcome
from adaptax.search.random_search import RandomSearch
from adaptax.search.record import read_trials
from adaptax.search.run import Plan, search
from adaptax.search.space import Genes, Space
from adaptax.search.table import Entry, EntryJob, Table, build_table, others_test, searched
from adaptax.search.trial import Measured
from adaptax.search.workers import Interrupted, Workers

SPACE = Space({"depth": (1, 2, 3), "width": (4, 8, 16), "activation": ("tanh", "relu")})


@dataclasses.dataclass(frozen=True)
class Toy:
    """A job that trains nothing; `until`: how many such jobs may end before one is interrupted."""

    updates: int
    hidden: tuple[int, ...]
    done: Path | None = None
    until: int = 100

    def run(self) -> Measured:
        if self.done is not None:
            count = len(self.done.read_text()) if self.done.exists() else 0
            if count >= self.until:
                raise Interrupted
            self.done.write_text("x" * (count + 1))
        return Measured(
            {"adapted": self.updates - abs(sum(self.hidden) - 16.0)}, sum(self.hidden), 1.0, 2.0, 10, 0.0
        )


@dataclasses.dataclass(frozen=True)
class Crash:
    """A job that ends its process."""

    def run(self) -> None:
        os._exit(3)


def plan(**changes) -> Plan:
    return dataclasses.replace(Plan(MAML(), Corridor(), SPACE, trials=8, updates=9, workers=0), **changes)


def check_resume(monkeypatch, directory: Path) -> None:
    """Evolution and halving: interrupted every third trial, and not at all."""
    monkeypatch.setattr(search_run._Search, "finals", lambda self: False)
    for name in ("evolution", "halving"):
        until, count = 100, directory / f"{name}-count"
        job = lambda self, p: Toy(p.updates, self.plan.with_genes(p.genes).hidden, count, until)  # noqa: E731, B023
        monkeypatch.setattr(search_run._Search, "_job", job)
        whole = search(plan(strategy=name), directory / name / "whole")
        for until in range(3, 100, 3):
            count.unlink(missing_ok=True)
            until = 3
            parts = search(plan(strategy=name), directory / name / "parts")
            if len(parts.trials) == len(whole.trials):
                break
        assert parts.trials == whole.trials == list(read_trials(directory / name / "parts").values())


def test_an_interrupted_search_makes_the_same_trials(monkeypatch, tmp_path):
    check_resume(monkeypatch, tmp_path)
    with pytest.raises(AdaptaxError, match="another search, which differs in trials"):
        search(plan(strategy="halving", trials=9), tmp_path / "halving" / "parts")
    with pytest.raises(AdaptaxError, match="something else"):
        search(plan(), tmp_path)


def test_a_crashed_process_is_a_failed_trial():
    with Workers(1) as workers:
        answers = []
        for label, job in enumerate((Crash(), Toy(1, (8,)))):
            workers.submit(label, job)
            while not (found := workers.wait(60.0)):
                pass
            answers += found
    assert answers[0] == (0, ("failed", "its process ended with code 3"))
    assert answers[1][1][0] == "done"


def test_a_torn_line_is_cut_off_and_a_foreign_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(search_run._Search, "finals", lambda self: False)
    job = lambda self, p: Toy(p.updates, self.plan.with_genes(p.genes).hidden)  # noqa: E731
    monkeypatch.setattr(search_run._Search, "_job", job)
    found = search(plan(strategy="random", trials=3), tmp_path / "s")
    path = tmp_path / "s" / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number": 3, "gen')
    assert list(read_trials(tmp_path / "s").values()) == found.trials and path.read_bytes() == whole
    path.write_bytes(b"nothing\n\n" + whole)
    with pytest.raises(AdaptaxError, match="line 1 is no trial"):
        read_trials(tmp_path / "s")


def test_a_search_trains_scores_and_tests(tmp_path):
    """The whole of it on a tiny family, in this process."""
    config = RL2(tasks=2, hidden=4, epochs=1, minibatches=1)
    tiny = Plan(
        config, Corridor(), Space({"cell": ("lstm",), "hidden": (4, 8)}), "random", trials=1, updates=1, workers=0,
        tasks=3, finalists=1, seeds=1,
    )  # fmt: skip
    found = search(tiny, tmp_path / "s")
    assert found.finished and found.trials[0].parameters > 0 and np.isfinite(found.trials[0].score)
    assert found.trials[0].adapt_ms > 0 and found.trials[0].act_us > 0
    assert [f.name for f in found.finalists][-1] == "by hand"
    assert found.finalists[0].test.returns.shape[:2] == (1, 3)
    result = outcome(found)
    assert len(result.tables) == 3 and len(result.plots) == 3
    assert [len(run_summaries(folder)) for folder in result.folders] == [1, 1]
    json.dumps([dataclasses.asdict(p) for p in result.plots])


def test_searches_are_read_from_a_table():
    """A search pays for what it trains, and is judged by the seeds that it has not seen."""
    entries = [
        Entry(g, [[0.0, 1.0 * i, 10.0 * i], [5.0, 5.0, 5.0]], [1.0 * i, 2.0 * i], 10, [1, 1])
        for i, g in enumerate(SPACE.all())
    ]
    table = Table(SPACE, (1, 3, 9), 2, entries, entries[0])
    trials = searched(table, RandomSearch(), 4, 0, repeat=0)
    assert [t.updates for t in trials] == [9] * 4 and {t.score % 10 for t in trials} == {0.0}
    assert len({t.identity for t in trials}) == 4
    halved = searched(table, Halving(), 4, 0, repeat=0)
    assert [t.score for t in halved if t.updates == 1] == [0.0] * sum(t.updates == 1 for t in halved)
    assert others_test(entries[3], 0) == 6.0 and others_test(entries[3], 1) == 3.0


@dataclasses.dataclass(frozen=True)
class Known:
    """An architecture whose scores are known."""

    genes: Genes | None

    def run(self) -> Entry:
        return Entry(self.genes, [[1.0]], [2.0], 3, [4])


def test_a_table_goes_on_behind_a_line_that_was_cut_off(monkeypatch, tmp_path):
    monkeypatch.setattr(search_table, "EntryJob", lambda config, genes, *_: Known(genes))
    build = lambda: build_table(MAML(), Corridor(), SPACE, (1,), 1, 2, tmp_path, workers=0)  # noqa: E731
    whole, path = build(), tmp_path / "table.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert build() == whole == build() and path.read_bytes() == content


def test_a_training_that_diverges_is_scored_as_it_was_before():
    config = MAML(tasks=2, streams=2, hidden=(2,), lr=float("nan"))
    entry = EntryJob(config, {"depth": 1}, Corridor(), (1, 2), 1, 2).run()
    assert np.isfinite([*entry.validation[0], *entry.test]).all() and len(entry.validation[0]) == 2
    assert entry.env_steps == [0]
