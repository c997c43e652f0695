"""A user's own arrays as a family of tasks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import adaptax as ax
from adaptax.algorithms.maml import MAML
from adaptax.cli import main
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import test_tasks as tasks_met

RNG = np.random.default_rng(0)


def line(n=12, slope=None):
    """y = a x on another scale than 1."""
    x = 100.0 * RNG.normal(size=(n, 1)) + 50.0
    return x, (RNG.normal() if slope is None else slope) * x[:, 0]


def sides(n=10):
    w = RNG.normal(size=2)
    x = RNG.normal(size=(n, 2))
    return x, (x @ w > 0).astype(int)


def test_support_and_query_are_the_users_rows_at_unit_scale():
    x, y = line(3), line(4)
    tasks = [(*line(3), *line(4)) for _ in range(4)]
    family = ax.tasks.from_arrays(tasks, tasks)
    found = family.examples(jax.random.key(0), jnp.int32(2), "train")
    mine = np.concatenate([part for task in tasks for part in (task[0], task[2])])
    np.testing.assert_allclose(found.support_x, (tasks[2][0] - mine.mean(0)) / mine.std(0), rtol=1e-4)
    np.testing.assert_allclose(family.restored(np.asarray(found.query_y))[:, 0], tasks[2][3], rtol=1e-4)
    assert family.spec.support == 3 and family.spec.observation == (1,)
    assert (len(x[0]), len(y[0])) == (3, 4)


def test_tasks_of_different_sizes_are_filled_up():
    tasks = [(*line(2), *line(5)), (*line(4), *line(1))]
    family = ax.tasks.from_arrays(tasks, tasks)
    first, second = (family.examples(jax.random.key(0), jnp.int32(i), "train") for i in (0, 1))
    assert np.asarray(first.support_valid).tolist() == [True, True, False, False]
    assert np.asarray(second.query_valid).tolist() == [True, False, False, False, False]


def test_shots_are_drawn_anew_and_the_rest_are_queries():
    tasks = [line(6), line(9)]
    family = ax.tasks.from_arrays(tasks, tasks, shots=2)
    seen = set()
    for seed in range(20):
        found = family.examples(jax.random.key(seed), jnp.int32(0), "train")
        valid = np.asarray(found.query_valid)
        assert valid.sum() == 4 and found.support_valid.all()
        together = np.concatenate([found.support_x[:, 0], found.query_x[valid][:, 0]])
        np.testing.assert_allclose(np.sort(together), np.sort(family.prepared(tasks[0][0])[:, 0]), rtol=1e-5)
        seen.add(float(found.support_x[0, 0]))
    assert len(seen) > 3


def test_test_tasks_are_held_out():
    family = ax.tasks.from_arrays([line() for _ in range(20)], shots=3)
    draw = lambda split: {int(family.sample(jax.random.key(i), split)) for i in range(200)}  # noqa: E731
    assert len(draw("train")) == 16 and len(draw("test")) == 4 and not draw("train") & draw("test")


def test_the_whole_way_in_the_users_units(tmp_path):
    family = ax.tasks.from_arrays([line() for _ in range(60)], shots=4)
    config = MAML(tasks=16, inner_steps=3, inner_lr=0.1, later_lr_factor=1.0, hidden=(16,), lr=1e-2)
    ax.train(config, family, 300, directory=tmp_path / "run", report=ax.silent)
    with pytest.raises(AdaptaxError, match=r"ax.load\(DIR, family=...\)"):
        ax.load(tmp_path / "run").fit([1.0], [2.0])
    run = ax.load(tmp_path / "run", family)
    curve = ax.evaluate(run, tasks=50).curve().mean((0, 1))
    assert curve[-1] > curve[0] / 3, curve
    x, y = line(30, slope=1.0)
    fitted = run.fit(x[:8], y[:8]).predict(x[8:])
    assert fitted.shape == (22, 1)
    assert np.mean((fitted[:, 0] - y[8:]) ** 2) < 0.3 * y.var()
    with pytest.raises(AdaptaxError, match=r"call run\.fit"):
        run.begin()
    with pytest.raises(AdaptaxError, match="no probabilities"):
        run.fit(x[:8], y[:8]).probabilities(x)


def test_classification_predicts_classes(tmp_path):
    family = ax.tasks.from_arrays([sides() for _ in range(50)], shots=5, kind="classification")
    run = ax.train(MAML(tasks=16, inner_steps=2, inner_lr=0.5, hidden=(16,)), family, 100, report=ax.silent)
    assert ax.evaluate(run, tasks=20).measure == "accuracy"
    x, y = sides(20)
    predictor = run.fit(x[:10], y[:10])
    assert np.mean(predictor.predict(x[10:]) == y[10:]) >= 0.6
    np.testing.assert_allclose(predictor.probabilities(x).sum(1), 1.0, rtol=1e-5)
    with pytest.raises(AdaptaxError, match="whole numbers from 0 to 1"):
        run.fit(x, y + 1)
    with pytest.raises(AdaptaxError, match=r"shape \(n, 2\)"):
        predictor.predict(x[:, :1])


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_learner_that_remembers_reads_arrays(kind):
    classes = kind == "classification"
    tasks = [sides() if classes else line(10) for _ in range(50)]
    family = ax.tasks.from_arrays(tasks, shots=5, kind=kind)
    config = ax.SNAIL(tasks=16, hidden=16, filters=8, keys=8, values=8, lr=3e-3)
    run = ax.train(config, family, 150, report=ax.silent)
    curve = ax.evaluate(run, tasks=20).curve().mean((0, 1))
    assert curve.shape == (2,) and curve[1] > curve[0] + 0.1, curve
    x, y = tasks[0]
    told, untold = run.fit(x[:5], y[:5]), run.fit(x[:5], y[:5], adaptations=0)
    other = run.fit(x[:5], 1 - y[:5], adaptations=0)
    np.testing.assert_array_equal(untold.predict(x), other.predict(x))
    assert told.predict(x).shape == untold.predict(x).shape == (len(x),) if classes else (len(x), 1)


@pytest.mark.parametrize(
    "tasks, options, sentence",
    [
        ([line(), line()], {}, r"must be \(support_x, support_y, query_x, query_y\); or give shots=K"),
        ([line(3), line(3)], {"shots": 3}, "too few for shots=3"),
        ([(*line(3), *line(2))], {}, "at least two tasks"),
        ([(np.full((3, 1), np.nan), np.zeros(3), *line(2))] * 2, {}, "support inputs .* finite"),
        ([(np.zeros((3, 1)), np.zeros(2), *line(2))] * 2, {}, "3 inputs and 2 labels"),
        (
            [(*line(3), *line(2)), (np.zeros((3, 2)), np.zeros(3), np.zeros((2, 2)), np.zeros(2))],
            {},
            "same shape",
        ),
        (
            [(np.zeros((3, 1)), np.zeros((3, 2)), np.zeros((2, 1)), np.zeros(2))] * 2,
            {},
            "inputs and labels of the same shape",
        ),
        ([(*line(3), *line(2))] * 2, {"kind": "classification"}, "whole numbers 0, 1"),
        ([(*line(3), *line(2))] * 2, {"kind": "ranking"}, "kind must be"),
        ([line(5)] * 3, {"shots": 0}, "shots must be a whole number from 1"),
        ([line(5)] * 3, {"shots": 2, "held_out": 2.0}, "held_out must be a share between 0 and 1"),
        (
            [([[1.0], [1.0, 2.0]], [0.0, 1.0], *line(2))] * 2,
            {},
            "support inputs of the train task 0 have rows of different",
        ),
        (
            [line(5), line(5), (line(5)[0], np.full(5, np.nan))],
            {"shots": 2},
            "labels of the train task 2 must be finite",
        ),
        ([(line(5)[0], np.array(list("abcde")))] * 2, {"shots": 2}, "kind='classification'"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tasks, options, sentence):
    with pytest.raises(AdaptaxError, match=sentence):
        ax.tasks.from_arrays(tasks, **options)


def test_each_test_task_is_met_once_however_many_are_asked_for():
    family = ax.tasks.from_arrays(
        [(*line(6), *line(4)) for _ in range(8)], test=[(*line(6), *line(4)) for _ in range(3)]
    )
    run = ax.train(ax.MAML(tasks=2, hidden=(4,)), family, updates=1, seed=0, report=ax.silent)
    assert ax.evaluate(run, tasks=50).curve().shape[1] == 3
    assert sorted(np.asarray(tasks_met(family, "test", 50, seed=1)).tolist()) == [8, 9, 10]
    two = [np.asarray(tasks_met(family, "train", 2, seed)).tolist() for seed in range(20)]
    assert all(len(set(pair)) == 2 for pair in two) and len({tuple(pair) for pair in two}) > 5


def test_whole_numbers_of_any_type_are_classes():
    x = np.linspace(-1.0, 1.0, 6)
    for labels in (x > 0, (x > 0).astype(float), (x > 0).astype(int)[:, None]):
        family = ax.tasks.from_arrays([(x, labels)] * 4, shots=3, kind="classification")
        assert family.spec.action.n == 2


def test_a_run_is_not_loaded_with_other_arrays(tmp_path):
    tasks = [line(6) for _ in range(5)]
    family = ax.tasks.from_arrays(tasks, shots=3)
    ax.train(
        ax.MAML(tasks=2, hidden=(4,)), family, updates=1, seed=0, directory=tmp_path / "run", report=ax.silent
    )
    assert ax.load(tmp_path / "run", ax.tasks.from_arrays(tasks, shots=3)).updates == 1
    for other in (
        ax.tasks.from_arrays(tasks, shots=2),
        ax.tasks.from_arrays([(x, 2 * y) for x, y in tasks], shots=3),
    ):
        with pytest.raises(AdaptaxError, match="trained on other arrays"):
            ax.load(tmp_path / "run", other)


def test_arrays_in_a_module_are_a_family_of_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gauges.py").write_text(
        "import numpy as np\nimport adaptax as ax\nrng = np.random.default_rng(0)\n"
        "tasks = [(x := rng.uniform(-1, 1, 8), a * x) for a in rng.normal(size=12)]\n"
        "family = ax.tasks.from_arrays(tasks, shots=3, name='gauges')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = "train maml jax:gauges:family --tasks 2 --hidden 4 --updates 2 --run run"
    assert main(words.split()) == 0
    assert main(["evaluate", "run", "--episodes", "1", "--baselines"]) == 0
    assert "multi-task" in capsys.readouterr().out


def test_what_a_predictor_cannot_read_is_told():
    family = ax.tasks.from_arrays([line(6) for _ in range(5)], shots=3)
    run = ax.train(ax.MAML(tasks=2, hidden=(4,)), family, updates=1, seed=0, report=ax.silent)
    for x, y, sentence in (
        ([], [], "at least one"),
        ([1.0, 2.0], ["a", "b"], "Labels must be an array of numbers"),
        (["a"], [1.0], "Inputs must be an array of numbers"),
        (0.5, [1.0], "Inputs must have the shape"),
    ):
        with pytest.raises(AdaptaxError, match=sentence):
            run.fit(x, y)
    assert len(repr(run)) < 100 and "train" in repr(family)
