"""Commands on labelled examples and slates, small: every row and seed is there, and what took long is not done twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from families import Pictures
from supervised import test_recommender
from tasks.test_recommender_slates import shared_family

from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.protonet import ProtoNet
from adaptax.algorithms.rl2 import RL2
from adaptax.reproduction import function_families, kept, omniglot, recommender, recommender_slates
from adaptax.reproduction.gradient_methods import Method, trained
from adaptax.tasks.functions import Steps
from adaptax.training.progress import silent
from adaptax.training.run import Run

TINY = {"tasks": 2, "hidden": (2,)}


def column(table, name: str) -> dict[str, str]:
    return {row[0]: row[list(table.columns).index(name)] for row in table.rows}


def test_omniglot_tells_each_seed_and_how_queries_are_normalised(tmp_path, monkeypatch):
    methods = (
        Method("maml-transductive", MAML(**TINY, transductive=True), 1),
        Method("protonet", ProtoNet(**TINY), 1),
    )
    monkeypatch.setattr(
        omniglot, "method", lambda name, updates: Method(name, MultiTask(**TINY, minibatches=1), 0)
    )

    def again(seeds: int = 2):
        return omniglot.accuracies(methods, {}, 0, tmp_path, silent, seeds, Pictures(), 6)

    table = again().tables[0]
    assert [row[0] for row in table.rows] == [
        "maml, transductive",
        "protonet",
        "multi-task, transductive",
    ]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(len(cell.split()) == 2 for cell in column(table, "each seed, adapted").values())
    apart = column(table, "one by one")
    assert apart["maml, transductive"] and not apart["protonet"]
    runs = trained(methods[0], Pictures(), tmp_path, silent, 2)
    asked = [omniglot.one_by_one(run) for run in runs]
    assert [run.algorithm.learner.transductive for run in (*runs, *asked)] == [True, True, False, False]

    def never(*_, **__):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(kept, "evaluate", never)
    assert again().tables[0].rows == table.rows
    with pytest.raises(AssertionError, match="evaluated again"):
        again(1)


def test_functions_of_every_family_tell_each_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(function_families, "FAMILIES", (Steps(),))
    for name, value in (("UPDATES", 1), ("WAVES", 4)):
        monkeypatch.setattr(function_families, name, value)
    found = function_families.function_families(tmp_path, silent, 2)
    [table] = found.tables
    assert all(len(cell.split()) == 2 for cell in column(table, "each seed").values())
    assert all(len(row) == len(table.columns) for row in table.rows) and len(found.claims) == 2


def tiny(method: Method) -> Method:
    sized = {name: value for name, value in TINY.items() if hasattr(method.config, name)}
    return Method(method.name, dataclasses.replace(method.config, **sized), 1)  # type: ignore[type-var]


def test_recommenders_stand_beside_all_that_needs_no_meta_training(tmp_path, monkeypatch):
    family = test_recommender.family_of(test_recommender.shared_file())
    methods = tuple(map(tiny, (recommender.METHODS[0], recommender.JOINT)))
    monkeypatch.setattr(recommender, "TUNED", dataclasses.replace(recommender.TUNED, **TINY))
    runs = {m.name: trained(m, family, tmp_path, silent, 2) for m in methods}
    recommender.keep_curve(runs["maml"], family, tmp_path / "maml")
    [table] = recommender.compared(
        runs, dataclasses.replace(family, cold="both"), "new users and films"
    ).tables
    names = [
        "maml, unadapted",
        "maml",
        "multi-task",
        "fine-tuning",
        "matrix factorisation",
        "user's mean",
        "popularity",
    ]
    assert [row[0] for row in table.rows] == names and all(
        len(row) == len(table.columns) for row in table.rows
    )
    errors, of_seeds = column(table, "MAE, stars"), column(table, "each seed")
    for name in names:
        each = [float(x) for x in of_seeds[name].split()]
        assert len(each) == 2 and abs(float(errors[name]) - np.mean(each)) < 2e-3
    below = column(table, "MAE below factorisation's")
    lead = float(errors["matrix factorisation"]) - float(errors["maml"])
    assert abs(float(below["maml"].split()[0]) - lead) < 2e-3
    assert not below["matrix factorisation"] and column(table, "nDCG@3 above its")["popularity"]


def test_slates_tell_each_learners_difference_to_bandit_algorithms(tmp_path, monkeypatch):
    rl2 = RL2(tasks=4, hidden=4, embedding=4, minibatches=2)
    maml = MAML(tasks=2, streams=2, hidden=())
    monkeypatch.setattr(recommender_slates, "RL2_", Method("rl2", rl2, 1))
    monkeypatch.setattr(recommender_slates, "MAML_", Method("maml", maml, 1))
    monkeypatch.setattr(recommender_slates, "USERS", 6)

    def as_long(family, env_steps, seed, directory, report) -> Run:
        return trained(
            Method("multi-task", MultiTask(**TINY, minibatches=1), 0), family, directory, report, 1
        )[0]

    monkeypatch.setattr(recommender_slates, "train_as_long", as_long)
    found = recommender_slates.slates(tmp_path, silent, 2, shared_family())
    [table] = found.tables
    assert {row[0] for row in table.rows} == {
        "rl2", "maml", "multi-task", "random", "popularity", "greedy", "linucb", "thompson",
    }  # fmt: skip
    totals, of_linucb = column(table, "all 4 together"), column(table, "below linucb's by")
    number = {name: float(cell.split()[0]) for name, cell in totals.items()}
    for name in ("rl2", "maml"):
        assert abs(float(of_linucb[name].split()[0]) - (number["linucb"] - number[name])) < 0.02
    assert not of_linucb["thompson"] and len(found.claims) == 4


def test_texts_tell_gains_on_each_baseline(tmp_path, monkeypatch):
    pytest.importorskip("wordllama", reason="the extra 'text' is not installed")
    from supervised.test_text import family_of, shared_file

    from adaptax.reproduction import text
    from adaptax.reproduction.sentence_baselines import nearest_centroid

    names = ("nearest centroid", "logistic regression", "fine-tuning")
    others = [
        nearest_centroid,
        lambda x, y, q: nearest_centroid(x, y, -q),
        lambda x, y, q: nearest_centroid(-x, y, -q),
    ]
    made = {name: lambda seed, c=c: c for name, c in zip(names, others, strict=True)}
    monkeypatch.setattr(text, "references", lambda family: made)
    monkeypatch.setattr(text, "METHODS", (tiny(text.METHODS[0]),))
    for name, value in (("TASKS", 4), ("UPDATES", 1)):
        monkeypatch.setattr(text, name, value)
    family = family_of(shared_file(), test_domains=("travel",))
    [table] = text.intents(family, tmp_path, silent, 2).tables
    assert [row[0] for row in table.rows] == ["maml", *names, "multi-task"]
    assert all(len(row) == len(table.columns) for row in table.rows)
    each = column(table, "each seed")
    mean = {name: np.mean([float(x) for x in cell.split()]) for name, cell in each.items()}
    for name in names:
        gain = column(table, f"gain on {name}")["maml"]
        assert abs(float(gain.split()[0]) - (mean["maml"] - mean[name])) < 0.2


def test_what_expresses_nothing_is_told_by_two_ways_each_beside_its_rivals(tmp_path, monkeypatch):
    from adaptax.reproduction import out_of_scope
    from adaptax.reproduction.out_of_scope import Detection

    level = iter((0.9, 0.5, 0.6, 0.95, 0.8, 0.7, 0.85, 0.75, 0.99))

    def detection(family, scorer, seeds, tasks):
        auroc = next(level) + np.random.default_rng(0).normal(0.0, 0.01, (seeds, tasks))
        return Detection(auroc, auroc, auroc)

    monkeypatch.setattr(out_of_scope, "detection", detection)
    monkeypatch.setattr(out_of_scope, "trained", lambda *_: [])
    monkeypatch.setattr(out_of_scope, "references", lambda family: {})
    found = out_of_scope.out_of_scope(tmp_path, silent, 2)
    ahead = column(found.tables[0], "on logistic regression")
    assert len(ahead) == 9 and len([cell for cell in ahead.values() if cell]) == 2
    assert ahead["maml, greatest probability"].startswith("-0.050")
    assert [claim.holds for claim in found.claims] == [
        True,
        False,
    ]  # with a class of its own multi-task is above it
