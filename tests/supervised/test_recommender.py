"""Ratings as tasks: whose and which are drawn, what is told of an item and from what, and what a malformed file is told."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from adaptax.cli import main
from adaptax.errors import AdaptaxError
from adaptax.reproduction.draws import evaluation_examples
from adaptax.reproduction.recommender import factorisation, ndcg, popularity, scores, users_mean
from adaptax.tasks.ratings import BIAS_RIDGE, FACTOR_RIDGE, FACTORS, KNOWN, OfRatings, fit
from adaptax.tasks.recommender import Recommender, allowed
from adaptax.tasks.registry import describe

USERS, ITEMS = 30, 40
GENRES = ("Drama", "Comedy", "Drama|War")


def taste(user: int, item: int) -> float:
    """Every other user loves what the others hate."""
    return (
        3.0
        + (2.5 if (user + item) % 2 else -2.5)
        + 0.5 * (item % 5 == 0)
        + (37 * user + 11) * (53 * item + 7) % 101 / 202
    )


@functools.cache
def shared_file() -> Path:
    """Each user has rated two thirds of the items."""
    path = Path(tempfile.mkdtemp()) / "my.csv"
    rows = [
        f"u{u},i{i},{taste(u, i)},{GENRES[i % 3]}"
        for u in range(USERS)
        for i in range(ITEMS)
        if (2 * u + i) % 3
    ]
    path.write_text("\n".join(["user,item,rating,genres", *rows]))
    return path


@pytest.fixture
def file() -> Path:
    return shared_file()


def family_of(file: Path, **fields) -> Recommender:
    return Recommender(file=str(file), **{"shots": 4, "queries": 5} | fields)


def check_divisions() -> None:
    """Training tasks are of training users on known items; what is new at test time is new."""
    for cold, users_new, items_new in (("users", True, False), ("items", False, True), ("both", True, True)):
        ratings = OfRatings(str(shared_file())).ratings
        item = ratings.table.item[ratings.rows]
        for split in ("train", "test"):
            support, query = allowed(ratings, split, cold, ())
            trains = split == "train"
            who = ratings.test_user[:, None] == (users_new and not trains)
            there = np.arange(item.shape[1]) < ratings.counts[:, None]
            np.testing.assert_array_equal(support, there & who & ~ratings.new_item[item])
            np.testing.assert_array_equal(
                query, there & who & (ratings.new_item[item] == (items_new and not trains))
            )


def test_who_and_what_is_new(file):
    check_divisions()
    train, test = (set(np.asarray(family_of(file).all_tasks(s)).tolist()) for s in ("train", "test"))
    assert len(train) == 24 and len(test) == 6 and not train & test


def check_examples(**fields) -> None:
    """Inputs and labels of a draw are those of the user's own ratings; none is known and asked about at once."""
    family = family_of(shared_file(), **fields)
    table, ratings = family.ratings.table, family.ratings
    for seed in range(3):
        key = jax.random.key(seed)
        task = family.sample(key, "test")
        found = family.examples(key, task, "test")
        mine = np.flatnonzero(table.user == int(task))
        of_row = {
            (tuple(np.round(ratings.known[r], 4)), tuple(table.item_content[r_item])): table.rating[r]
            for r in mine
            for r_item in [table.item[r]]
        }
        x = np.concatenate([found.support_x, found.query_x[np.asarray(found.query_valid)]])
        y = np.concatenate([found.support_y, found.query_y[np.asarray(found.query_valid)]])[:, 0]
        assert len({tuple(row) for row in x.round(4).tolist()}) == len(x) or family.cold != "users", (
            "a rating is there twice"
        )
        for row, label in zip(x, y, strict=True):
            told = tuple(np.round(row[:KNOWN], 4)), tuple(row[KNOWN:])
            if any(told[0]):  # of new items nothing but their genres is told
                assert abs(of_row[told] - ratings.fit.mean - label) < 1e-4
        if family.cold != "users":
            asked = np.asarray(found.query_x)[np.asarray(found.query_valid)]
            assert not asked[:, :KNOWN].any() and found.support_x[:, :KNOWN].any()


def test_examples_are_the_users_own_ratings():
    check_examples()
    check_examples(cold="both", shots=3)


def test_genres_kept_for_testing(file):
    family = family_of(file, test_genres=("War",), shots=2)
    ratings = family.ratings
    item = ratings.table.item[ratings.rows]
    for split in ("train", "test"):
        war = {
            int(i) % 3 == 2
            for i in np.array([int(n[1:]) for n in ratings.table.items])[
                item[allowed(ratings, split, "users", ("War",))[0]]
            ]
        }
        assert war == {split == "test"}
    with pytest.raises(AdaptaxError, match="no genre 'Jazz'; they have Comedy, Drama, War"):
        family_of(file, test_genres=("Jazz",)).all_tasks("test")
    with pytest.raises(AdaptaxError, match="No train user has 90 ratings and 3 others"):
        describe(family_of(file, shots=90))


def check_left_out() -> None:
    """What is told of an item to one who has rated it is the regression of the other ratings alone, at the same users' factors."""
    rng = np.random.default_rng(1)
    user, item = np.divmod(rng.choice(48, 30, replace=False), 6)
    rating = rng.integers(1, 6, 30).astype(float)
    found = fit(user, item, rating, 8, 6)
    z = np.column_stack([np.ones(30), found.user_factors[user]])
    target = rating - found.mean - found.user_bias[user]
    ridge = np.diag([BIAS_RIDGE] + [FACTOR_RIDGE] * FACTORS)
    for row in (0, 11, 29):
        others = (item == item[row]) & (np.arange(30) != row)
        by_hand = np.linalg.solve(z[others].T @ z[others] + ridge, z[others].T @ target[others])
        np.testing.assert_allclose(found.left_out[row], by_hand, atol=1e-8)


def test_no_user_is_told_his_own_rating():
    check_left_out()


def test_factors_find_out_who_likes_what(file):
    """Two opposite tastes: the factorisation knows a new user's from twelve ratings, which neither mean can."""
    family = family_of(file, shots=12)
    data = [evaluation_examples(family, "test", 0, 6)]
    by_factors, by_mean, by_popularity = (
        scores(family, data, lambda seed, p=p: p).mae.mean()
        for p in (factorisation(family), users_mean, popularity(family))
    )
    assert by_factors < 0.85 * min(by_mean, by_popularity)


def test_ndcg_by_hand():
    stars = np.array([5.0, 1.0, 3.0])
    assert ndcg(stars, np.array([3.0, 1.0, 2.0]), 3) == 1.0
    worst = (1 + 7 / np.log2(3) + 31 / 2) / (31 + 7 / np.log2(3) + 1 / 2)
    np.testing.assert_allclose(ndcg(stars, -stars, 3), worst, rtol=1e-9)
    np.testing.assert_allclose(ndcg(stars, -stars, 1), 1 / 31, rtol=1e-9)


def test_a_new_user_is_met_in_stars(file):
    """Items by name, labels and predictions in the units of the file."""
    family = family_of(file)
    x = family.inputs(["i3", "i4"])
    assert x.shape == (2, family.spec.observation[0])
    stars = np.array([[4.5], [1.5]])
    np.testing.assert_allclose(family.restored(family.prepared_labels(stars)), stars)
    one, other = family.inputs(["i3", "nobody's"], new={"nobody's": ["War", "Drama"]})
    np.testing.assert_array_equal(one, x[0])
    assert not other[:KNOWN].any() and other[KNOWN:].tolist() == [0.0, 1.0, 1.0]  # Comedy, Drama, War
    with pytest.raises(AdaptaxError, match="no genre 'Jazz'; they have Comedy, Drama, War"):
        family.inputs(["nobody's"], new={"nobody's": ["Jazz"]})
    with pytest.raises(AdaptaxError, match="no item 'i99'"):
        family.inputs(["i99"])
    with pytest.raises(AdaptaxError, match="no user 'me'"):
        family.inputs(["i3"], user="me")


MALFORMED = {
    "user,item\na,b": "line 1: there is no column 'rating'",
    "user,item,rating\na,b,good": "line 2: the rating 'good' is no finite number",
    "user,item,rating\na,b,nan": "line 2: the rating 'nan' is no finite number",
    "user,item,rating\na,b,3\nb,b,2\na,b,4": "line 4: user 'a' has rated item 'b' in line 2 already",
    "user,item,rating,genres\na,b,3,War\nb,b,2,Drama": "line 3: item 'b' has the genres 'Drama' here and 'War' in line 2",
}


@pytest.mark.parametrize("content", MALFORMED)
def test_a_malformed_file_is_told_with_the_line(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text(content)
    assert main(["train", "maml", "recommender:my.csv"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(MALFORMED[content], err), err


def test_a_run_on_a_file_of_ones_own(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = f"train maml recommender:{file} --family.shots 4 --updates 2 --tasks 2 --hidden 4 --run run"
    assert main(words.split()) == 0
    assert main(["evaluate", "run", "--episodes", "1"]) == 0
    assert "squared error" in capsys.readouterr().out


@pytest.mark.skipif(not os.environ.get("ADAPTAX_DATA"), reason="ADAPTAX_DATA names no folder of data sets")
def test_movielens_as_published():
    family = Recommender()
    table = family.ratings.table
    assert (len(table.rating), len(table.users), len(table.items)) == (100_000, 943, 1682)
    np.testing.assert_array_equal(
        np.bincount(table.rating.astype(int)), [0, 6110, 11370, 27145, 34174, 21201]
    )
    assert table.items[0] == "Toy Story (1995)" and table.of_genre[0].nonzero()[0].tolist() == [3, 4, 5]
    assert family.spec.observation == (KNOWN + table.item_content.shape[1] + table.user_content.shape[1],)
