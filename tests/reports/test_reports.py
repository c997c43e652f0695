"""Reports: the numbers are in them and right, nothing is fetched, and odd input (one point, NaN, 30 runs, HTML) is drawn."""

import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st
from matplotlib._pylab_helpers import Gcf

from adaptax.errors import AdaptaxError
from adaptax.reports import (
    EvaluationSummary,
    RunSummary,
    adaptation_curve,
    learning_curve,
    numbers,
    plots,
    tables,
)
from adaptax.reports.html import findings, page, write_report
from adaptax.reports.summary import all_evaluations


def evaluation(label="maml", split="test", mean=(-41.5, -24.2, -17.9), steps=(0.0, 2000.0, 4000.0), **kwargs):
    usual = {
        "episodes": list(range(len(mean))),
        "low": [m - 1.0 for m in mean],
        "high": [m + 1.0 for m in mean],
        "iqm": mean[-1] + 0.3,
        "interval": (mean[-1] - 0.6, mean[-1] + 1.2),
        "n_tasks": 100,
        "n_seeds": 5,
        "actions": "sampled",
        "seconds": 12.4,
    }
    return EvaluationSummary(label=label, split=split, mean=mean, steps_consumed=steps, **(usual | kwargs))


def run(name="runs/maml", seed=0, returns=(1.0, 2.0, 3.0), algorithm="maml", **kwargs):
    rows = [
        {"update": i + 1, "env_steps": 100.0 * (i + 1), "seconds": 0.5 * (i + 1), "return": value}
        for i, value in enumerate(returns)
    ]
    usual = {"family": "point-navigation", "config": {"seed": seed, "inner": {"lr": 0.1}}, "metrics": rows}
    return RunSummary(name=name, algorithm=algorithm, **(usual | kwargs))


RANDOM = evaluation("random", mean=(-47.1,), steps=(0.0,), kind="baseline", seconds=0.8)
ORACLE = evaluation("oracle", mean=(-5.9,), steps=(0.0,), kind="ceiling", seconds=0.3)
MAML = evaluation()


class _Balance(HTMLParser):
    """Fails on a tag that is closed out of order or never."""

    void = frozenset({"meta", "link", "br", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    """What a reader sees, and the SVG elements, of well-formed HTML."""
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    figures = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    return " ".join(" ".join(parser.text).split()), figures


def svg_texts(figure):
    return [element.text for element in figure.iter("{http://www.w3.org/2000/svg}text")]


# --- the page ----------------------------------------------------------------------------------


def test_the_report_holds_the_numbers():
    scored = dataclasses.replace(MAML, success_rate=0.625, regret=12.0)
    text, figures = read(
        page([run(evaluations=[scored, RANDOM, ORACLE], command="adaptax train maml point-navigation")])
    )
    assert "On 100 unseen tasks (test, 5 seeds), maml goes from −41.5 to −17.9 per episode" in text
    assert "95% interval [−18.9, −16.9], after 4,000 environment steps of the new task." in text
    assert "For comparison: random −47.1, oracle −5.9." in text
    assert "maml −17.6 [−18.5, −16.7] −41.5 → −24.2 → −17.9 4,000 62.5% 12.0 12 s" in text
    assert "random −46.8 [−47.7, −45.9] −47.1 0 — — 0.80 s" in text
    assert "maml test 0 0 −41.5 [−42.5, −40.5] 1 2,000 −24.2 [−25.2, −23.2] 2 4,000" in text
    assert "runs/maml maml 3 300 1.5 s 200 3.00" in text
    assert "inner.lr 0.1" in text and "adaptax train maml point-navigation" in text
    assert len(figures) == 2
    assert {"maml", "random", "oracle"} < set(svg_texts(figures[0]))


def test_the_report_fetches_nothing():
    html = page([run(evaluations=[MAML, RANDOM])])
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in without_namespaces and "//" not in re.sub(r"/\*.*?\*/", "", without_namespaces)
    assert not re.search(
        r"<(script|link|img|iframe|object)|@import|\ssrc=|url\((?!#)|href=\"(?!#)", without_namespaces
    )


def test_names_are_escaped():
    nasty = '<script>alert("x")</script> & $a_b$ [bold]'
    found = [evaluation(label=nasty, notes=nasty), RANDOM]
    runs = [
        run(
            name=nasty, algorithm=nasty, family=nasty, config={nasty: nasty}, evaluations=found, command=nasty
        )
    ]
    html = page(runs)
    assert "<script" not in html
    text, figures = read(html)
    assert text.count(nasty) >= 8  # title, heading, sentence, tables, settings, command
    assert any(label and label.startswith("<script>") for figure in figures for label in svg_texts(figure))


def test_the_same_runs_give_the_same_page_and_leave_matplotlib_alone():
    runs = [run(evaluations=[MAML, RANDOM, ORACLE])]
    settings = dict(matplotlib.rcParams)
    assert page(runs) == page(runs)
    assert dict(matplotlib.rcParams) == settings
    assert Gcf.get_all_fig_managers() == []  # pyplot keeps no figure


def test_colours_follow_the_page():
    html = page([run(evaluations=[MAML, RANDOM])])
    figures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert not [
        colour for colour in (plots.INK, plots.MUTED, plots.GRID, *plots.COLOURS) if colour in figures
    ]
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    light, dark = (
        set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root \{.*?\}", html, re.DOTALL)
    )
    assert {"--ink", "--series-0", "--series-1"} < used <= light == dark


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    write_report(path, [run()])
    before = path.read_bytes()
    assert before.decode() == page([run()])

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(AdaptaxError, match="No space left"):
        write_report(path, [run(evaluations=[MAML])])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


# --- odd input ---------------------------------------------------------------------------------


def test_nothing_and_next_to_nothing():
    assert "No runs were given." in read(page([]))[0]
    text, figures = read(page([run(returns=(), config={})]))
    assert "Nothing has been evaluated yet." in text
    assert "nothing to show" in svg_texts(figures[0])
    assert "runs/maml maml — — — — —" in text


def test_a_single_point_a_single_score():
    alone = evaluation(
        mean=(1.5,),
        steps=(0.0,),
        low=(math.nan,),
        high=(math.nan,),
        interval=(math.nan, math.nan),
        n_tasks=1,
        n_seeds=1,
    )
    text, figures = read(page([run(returns=(2.0,), evaluations=[alone])]))
    assert "On 1 unseen task (test, 1 seed), maml returns 1.50 per episode, 95% interval —." in text
    assert all("maml" in svg_texts(figure) for figure in figures)
    curve = adaptation_curve([alone]).axes[0]
    assert [line.get_ydata()[0] for line in curve.lines[:2]] == [1.5, 1.5]  # the mark, and the level line
    (point,) = [
        line for line in learning_curve([run(returns=(2.0,))]).axes[0].lines if len(line.get_xdata()) == 1
    ]
    assert point.get_marker() == "o" and list(point.get_ydata()) == [2.0]


def test_what_is_not_finite_is_left_out_and_counted():
    returns = [float(i) for i in range(20)]
    returns[3], returns[18] = math.nan, math.inf
    broken = run(returns=returns)
    broken.metrics[5]["return"] = None
    text, _ = read(page([broken, run("runs/fine", seed=1, returns=returns[:3])]))
    assert "Not finite: meta-updates whose return is NaN" in text
    assert "runs/maml maml 20 2,000 10 s 200 19.0 3" in text  # the last tenth: 18 is infinite, 19 remains
    drawn = learning_curve([broken]).axes[0].lines[0]
    assert np.isfinite(drawn.get_ydata()).all() and len(drawn.get_xdata()) == 17


def test_thirty_runs():
    runs = [
        run(f"runs/sweep/{i}", returns=(0.0, float(i)), config={"seed": 0, "lr": i, "width": 64},
            evaluations=[evaluation(mean=(0.0, 1.0 + i / 100), steps=(0.0, 100.0)), RANDOM])
        for i in range(30)
    ]  # fmt: skip
    html = page(runs)
    text, (adaptation, learning) = read(html)
    assert (
        text.count("random ") > 0 and len(re.findall(r"<td[^>]*>random</td>", html)) == 2
    )  # one baseline, not thirty
    assert {f"runs/sweep/{i}" for i in range(30)} <= set(svg_texts(learning))
    assert {f"maml ({i})" for i in range(30)} <= set(svg_texts(adaptation))
    assert "width 64" in text and "run lr runs/sweep/0 0 runs/sweep/1 1" in text
    named = [
        e for e in adaptation.iter("{http://www.w3.org/2000/svg}text") if (e.text or "").startswith("maml (")
    ]
    heights = sorted(float(e.attrib["y"]) for e in named)
    assert heights[0] > 0 and heights[-1] < float(adaptation.attrib["viewBox"].split()[3])
    assert min(np.diff(heights)) > 10  # points; the letters are 9 high


def test_families_stand_apart_and_shared_tasks_are_said():
    shared = evaluation(split="test", shared_tasks=True)
    html = page([run(evaluations=[MAML]), run(family="two-directions", evaluations=[shared])])
    _, figures = read(html)
    first, second = html.split("<h2>")[1:]
    assert first.startswith("point-navigation") and second.startswith("two-directions")
    assert "On 100 unseen tasks" in first and "No two splits share tasks. Not evaluated: train, ood." in first
    assert (
        "On 100 tasks" in second and "Train and test share their tasks" in second and "unseen" not in second
    )
    assert len(figures) == 4


# --- plots -------------------------------------------------------------------------------------


def test_the_learning_curve_is_the_mean_over_seeds_with_its_range():
    runs = [run(seed=0, returns=(0.0, 1.0, 2.0)), run(seed=1, returns=(2.0, 5.0)), run("b", algorithm="rl2")]
    axes = learning_curve(runs).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [100, 200, 300])
    np.testing.assert_allclose(
        axes.lines[0].get_ydata(), [1.0, 3.0, 2.0]
    )  # the second seed has not got to 300
    (band,) = axes.collections
    np.testing.assert_allclose(sorted({y for _, y in band.get_paths()[0].vertices}), [0, 1, 2, 5])
    assert {t.get_text() for t in axes.texts} == {"maml, 2 seeds", "rl2"}


def test_a_long_learning_curve_is_thinned_without_bias():
    values = np.random.default_rng(0).normal(size=4000)
    line = learning_curve([run(returns=values.tolist())]).axes[0].lines[0]
    assert len(line.get_xdata()) == plots.MOST_POINTS
    np.testing.assert_allclose(line.get_ydata(), values.reshape(plots.MOST_POINTS, -1).mean(1))


def test_the_adaptation_curve_draws_means_intervals_and_names_in_order():
    axes = adaptation_curve([MAML, RANDOM, ORACLE]).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), np.column_stack([MAML.steps_consumed, MAML.mean]))
    vertices = axes.collections[0].get_paths()[0].vertices
    assert {(0.0, -42.5), (4000.0, -16.9)} <= {(x, round(y, 9)) for x, y in vertices}
    by_height = sorted(axes.texts, key=lambda text: -text.get_position()[1])
    assert [text.get_text() for text in by_height] == ["oracle", "maml", "random"]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "environment steps of the new task used so far"


def test_steps_of_very_different_size_get_a_logarithmic_axis_with_zero():
    few = evaluation("rl2", mean=(1.0, 2.0), steps=(0.0, 10.0))
    many = evaluation("maml", mean=(1.0, 3.0), steps=(0.0, 20_000.0))
    axes = adaptation_curve([few, many]).axes[0]
    assert axes.get_xscale() == "symlog"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10", "100", "1k", "10k"]


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=20))
def test_names_are_spread_in_order_within_the_plot(at):
    gap = 0.04
    spread = plots._spread(np.array(at), gap)
    order = np.argsort(at, kind="stable")
    assert np.all(np.diff(spread[order]) >= gap - 1e-9)
    assert spread.min() >= -1e-9 and spread.max() <= 1 + 1e-9


def test_names_that_have_room_stay_where_they_are():
    np.testing.assert_allclose(plots._spread(np.array([0.9, 0.1, 0.5]), 0.1), [0.9, 0.1, 0.5])
    np.testing.assert_allclose(plots._spread(np.array([0.5, 0.5]), 0.1), [0.45, 0.55])


# --- tables ------------------------------------------------------------------------------------


def test_rows_are_sorted_named_and_not_repeated():
    weak = evaluation(mean=(-41.5, -30.0), steps=(0.0, 100.0))
    runs = [
        run("runs/a/seed-0", evaluations=[RANDOM, weak, ORACLE]),
        run("runs/b/seed-0", evaluations=[RANDOM, MAML]),
    ]
    found = all_evaluations(runs)
    assert [e.label for e in found] == ["maml (b/seed-0)", "maml (a/seed-0)", "random", "oracle"]


def test_the_headline_drops_what_no_row_has_and_says_once_what_all_share():
    table = tables.headline([MAML, RANDOM])
    assert "success" not in table.columns and "regret" not in table.columns and "actions" not in table.columns
    assert "In all rows: tasks × seeds 100 × 5, actions sampled." in table.note
    mixed = tables.headline([dataclasses.replace(MAML, actions="modal", success_rate=0.5), RANDOM])
    assert "success" in mixed.columns and "actions" in mixed.columns and "tasks × seeds" not in mixed.columns
    assert table.strong == {0}


def test_splits_stand_side_by_side():
    found = [MAML, evaluation(split="train", mean=(-40.0, -16.0), steps=(0.0, 1.0)), RANDOM]
    table = tables.splits(found)
    assert table.columns == ["method", "train", "test"]
    assert table.rows[0] == ["maml", "−15.7 [−16.6, −14.8]", "−17.6 [−18.5, −16.7]"]
    assert table.rows[1] == ["random", "—", "−46.8 [−47.7, −45.9]"]
    assert "Not evaluated: ood" in tables.sharing(found)


def test_settings_tell_what_runs_share_from_what_differs():
    differing, shared = tables.settings(
        [run(seed=0), run("b", seed=1, config={"seed": 1, "inner": {"lr": 0.1}, "x": [1, 2]})]
    )
    assert (differing.columns, differing.rows) == (
        ["run", "seed", "x"],
        [["runs/maml", "0", "—"], ["b", "1", "1, 2"]],
    )
    assert shared.rows == [["inner.lr", "0.1"]]


def test_settings_that_were_changed_come_before_those_that_were_not():
    config = {"lr": 0.1, "tasks": 20, "hidden": [8, 8], "versions": {"jax": "1"}}
    usual = {"lr": 0.1, "tasks": 4, "hidden": (8, 8), "gone": 3}
    changed, others = tables.settings([run(config=config, defaults=usual)])
    assert (changed.title, changed.rows) == ("What differs from the defaults", [["tasks", "20", "4"]])
    assert [row[0] for row in others.rows] == ["lr", "hidden", "versions.jax"]

    # Of two learners: first what both have, of that what was changed; a row for each, where there are more than runs.
    other = {"lr": 0.2, "hidden": [8, 8], "cell": "gru", "tasks": 20, "seed": 1}
    ours = run(config={"cells": 3, "seed": 0} | config, defaults=usual)
    differing, changed, _ = tables.settings([ours, run("b", config=other, defaults={"lr": 0.1})])
    assert differing.columns == ["setting", "runs/maml", "b"]
    assert [row[0] for row in differing.rows] == ["lr", "seed", "cells", "versions.jax", "cell"]
    assert differing.rows[0] == ["lr", "0.1", "0.2"]
    assert changed.rows == [["tasks", "20", "4"]]


def test_the_terminal_shows_the_same_numbers():
    out = io.StringIO()
    table = tables.headline([evaluation("[bold]maml"), RANDOM])
    rich.console.Console(file=out, width=140).print(tables.console(table))
    assert "[bold]maml" in out.getvalue() and "[−18.5, −16.7]" in out.getvalue()


def test_findings_name_at_most_three_learners():
    found = [evaluation(f"learner-{i}") for i in range(5)]
    assert len(findings(found)) == 3


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        (numbers.number(1234.56, 1), "1,234.6"),
        (numbers.number(-0.04, 1), "0.0"),
        (numbers.number(-2.5, 2), "−2.50"),
        (numbers.number(math.inf, 2), "—"),
        (numbers.number(None, 2), "—"),
        (numbers.bracket(-1.0, 2.0, 1), "[−1.0, 2.0]"),
        (numbers.bracket(math.nan, 2.0, 1), "—"),
        (numbers.count(1e6), "1,000,000"),
        (numbers.short(-1500.0), "−1.5k"),
        (numbers.percent(0.1234), "12.3%"),
        (numbers.percent(None), "—"),
        (numbers.duration(0.41), "0.41 s"),
        (numbers.duration(9.96), "10 s"),
        (numbers.duration(59.6), "1 min 0 s"),
        (numbers.duration(9000.0), "2 h 30 min"),
        (numbers.duration(math.nan), "—"),
        (numbers.axis_labels([0.0, 2.5e6, 5e6]), ["0.0", "2.5M", "5.0M"]),
        (numbers.axis_labels([0.0, 5000.0, 10000.0]), ["0", "5k", "10k"]),
        (numbers.axis_labels([-0.5, 0.0, 0.5]), ["−0.5", "0.0", "0.5"]),
        (numbers.axis_labels([6.6, 6.625, 6.65]), ["6.600", "6.625", "6.650"]),
        (numbers.axis_labels([]), []),
    ],
)
def test_numbers_are_written_for_people(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    "half_width, places",
    [(0.015, 3), (0.0046, 3), (0.35, 2), (0.36, 1), (1.07, 1), (4.0, 0), (400.0, 0), (1e-9, 6)],
)
def test_decimals_follow_the_interval(half_width, places):
    assert numbers.decimals([half_width, math.nan], [6.6]) == places


def test_decimals_without_an_interval_give_three_digits():
    assert numbers.decimals([], [0.661, 0.5]) == 3
    assert numbers.decimals([], [-17.9]) == 1
    assert numbers.decimals([], [math.nan]) == numbers.decimals([0.0], [0.0]) == 0


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"low": [1.0]}, {"mean": (), "steps_consumed": (), "episodes": (), "low": (), "high": ()}]
)
def test_curves_of_unequal_or_no_length_are_refused(change):
    with pytest.raises(AdaptaxError, match="same number of adaptation points, at least one"):
        dataclasses.replace(MAML, **change)
