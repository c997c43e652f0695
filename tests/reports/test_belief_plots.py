"""Plots of beliefs: the components by hand, the steps that are drawn, and a page that holds them."""

import dataclasses
import re

import numpy as np
from reports.test_reports import MAML, read, run, svg_texts

from adaptax.reports import beliefs as drawn
from adaptax.reports.html import page
from adaptax.reports.summary import BeliefSummary


def beliefs(**changes):
    """Two tasks of 6 rows in episodes of 3, 2 and 1; of the second one the last row is not valid."""
    rng = np.random.default_rng(0)
    usual = {
        "label": "varibad",
        "split": "test",
        "beliefs": rng.normal(size=(2, 6, 3)),
        "valid": np.array([[True] * 6, [True] * 5 + [False]]),
        "episode": np.array([[0, 0, 0, 1, 1, 2]] * 2),
        "reward": np.zeros((2, 6)),
        "features": np.array([[0.25], [-1.0]]),
        "maps": rng.normal(size=(2, 6, 2, 4)),
        "truth": np.arange(16.0).reshape(2, 2, 4),
        "where": np.zeros((2, 6, 2), int),
    }
    return BeliefSummary(**(usual | changes))


def test_principal_components_by_hand():
    """Points on a line and a little beside it: (±3, ±3) along (1, 1)/√2, (1, −1) across it."""
    points, shares = drawn.principal_components(
        np.array([[3.0, 3.0], [-3.0, -3.0], [1.0, -1.0], [-1.0, 1.0]]) + 7.0
    )
    np.testing.assert_allclose(points[:, 0], [18**0.5, -(18**0.5), 0, 0], atol=1e-9)
    np.testing.assert_allclose(np.abs(points[:, 1]), [0, 0, 2**0.5, 2**0.5], atol=1e-9)
    np.testing.assert_allclose(shares, [0.9, 0.1])
    points, shares = drawn.principal_components(np.array([[1.0], [3.0]]))
    assert points.tolist() == [[-1, 0], [1, 0]] and shares == (1.0, 0.0)
    points, shares = drawn.principal_components(np.ones((3, 2)))
    assert not points.any() and shares == (0.0, 0.0)


def test_the_steps_that_are_drawn():
    assert drawn.moments(beliefs(), 0) == [0, 1, 2, 4, 5]
    assert drawn.moments(beliefs(), 1) == [0, 1, 2, 4]
    long = np.repeat(np.arange(20), 10)[None]
    rest = {"features": None, "maps": None, "truth": None, "where": None}
    many = beliefs(
        valid=long >= 0, episode=long, beliefs=np.zeros((1, 200, 3)), reward=np.zeros((1, 200)), **rest
    )
    assert drawn.moments(many, 0) == [0, 3, 6, 9, 79, 139, 199]


def test_the_page_draws_beliefs():
    text, figures = read(page([run(algorithm="varibad", evaluations=[MAML], beliefs=[beliefs()])]))
    assert "What varibad believes about new tasks" in text and "Where varibad expects reward" in text
    assert len(figures) == 5
    assert {"task 1 (0.25)", "task 2 (−1.00)"} < set(svg_texts(figures[1]))
    assert {"episode 1, step 1", "episode 2, step 5", "episode 3, step 6", "task 2"} < set(
        svg_texts(figures[2])
    )
    every = [*"123456", "episode 1", "episode 2", "episode 3"]
    assert sorted(svg_texts(figures[3])) == every
    colours = re.findall("#[0-9a-f]{6}", page([run(beliefs=[beliefs()])]).split("</style>", 1)[1])
    assert set(colours) <= {"#ffffff", "#000000"}, "colours are the page's, light or dark"

    without = dataclasses.replace(beliefs(), maps=None, truth=None, where=None, features=None)
    text, figures = read(page([run(evaluations=[MAML], beliefs=[without])]))
    assert "expects reward" not in text and {"task 1", "task 2"} < set(svg_texts(figures[1]))


def test_the_same_beliefs_give_the_same_bytes_and_fetch_nothing():
    html = page([run(evaluations=[MAML], beliefs=[beliefs()])])
    assert html == page([run(evaluations=[MAML], beliefs=[beliefs()])])
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in without_namespaces
    assert not re.search(
        r"<(script|link|img|image|iframe|object)|@import|\ssrc=|href=\"(?!#)", without_namespaces
    )


def test_the_test_split_is_shown_where_there_is_one():
    train = beliefs(split="train")
    assert "about training tasks" in page([run(beliefs=[train])])
    assert "about new tasks" in page([run(beliefs=[train, beliefs()])])
