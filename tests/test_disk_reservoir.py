"""A reservoir on disk: what it keeps, that it goes on where it was left, and what it says where there is no room."""

from __future__ import annotations

import os

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from adaptax.disk_reservoir import DiskReservoir, RunStore
from adaptax.errors import AdaptaxError

ROW = {"x": jnp.float32(0), "pair": jnp.zeros(2, jnp.int32), "flag": jnp.array(False)}


def rows(first: int, n: int):
    x = np.arange(first, first + n)
    return {"x": x.astype(np.float32), "pair": np.stack([x, -x], -1).astype(np.int32), "flag": x % 2 == 0}


def check_kept_as_often(tmp_path) -> None:
    """Of 20 rows three stay: each in 3/20 of all cases, and whole."""
    counts = np.zeros(20)
    for trial in range(400):
        store = DiskReservoir(tmp_path / str(trial), ROW, 3, seed=trial)
        for first, n in ((0, 7), (7, 13)):
            store.add(rows(first, n), np.ones(n, bool))
        held = store.drawn(5, seed=trial)
        assert int(held.size) == 3
        x = np.asarray(held.rows["x"][:3]).astype(int)
        np.testing.assert_array_equal(held.rows["pair"][:3], np.stack([x, -x], -1))
        np.testing.assert_array_equal(held.rows["flag"][:3], x % 2 == 0)
        counts[x] += 1
    assert chisquare(counts).pvalue > 1e-3


def test_every_row_is_kept_as_often(tmp_path):
    check_kept_as_often(tmp_path)


def test_it_goes_on_where_it_was_left(tmp_path):
    """Opened anew after each call, it holds what one that stayed open holds."""
    stays = DiskReservoir(tmp_path / "stays", ROW, 4)
    for first in (0, 6, 12):
        valid = np.arange(6) != 2
        stays.add(rows(first, 6), valid)
        DiskReservoir(tmp_path / "opened", ROW, 4).add(rows(first, 6), valid)
    opened = DiskReservoir(tmp_path / "opened", ROW, 4)
    assert opened.seen == stays.seen == 15 and opened.size == 4
    a, b = (store.drawn(4, 0) for store in (opened, stays))
    np.testing.assert_array_equal(a.rows["x"], b.rows["x"])
    assert not set(np.asarray(a.rows["x"]).astype(int)) & {2, 8, 14}


def test_of_many_rows_some_are_drawn(tmp_path):
    store = DiskReservoir(tmp_path, ROW, 50)
    store.add(rows(0, 30), np.ones(30, bool))
    drawn = [np.asarray(store.drawn(10, seed).rows["x"]) for seed in (0, 1)]
    assert all(len(set(x)) == 10 and x.max() < 30 for x in drawn) and set(drawn[0]) != set(drawn[1])


def test_a_full_disk_and_other_rows_are_told(tmp_path, monkeypatch):
    DiskReservoir(tmp_path / "here", ROW, 4)
    with pytest.raises(AdaptaxError, match="other rows"):
        DiskReservoir(tmp_path / "here", ROW, 5)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AdaptaxError, match=r"no room for a store of 1,000 rows.*No space left"):
        DiskReservoir(tmp_path / "new", ROW, 1000)


def test_a_damaged_store_is_told(tmp_path):
    for name in ("rows-0.bin", "reservoir.json"):
        DiskReservoir(tmp_path / name, ROW, 5)
        (tmp_path / name / name).write_text("{")
        with pytest.raises(AdaptaxError, match="is damaged"):
            DiskReservoir(tmp_path / name, ROW, 5)


# --- of a run ------------------------------------------------------------------------------------


def test_a_run_offers_each_meta_update_once(tmp_path):
    """Asked again after an interrupt it gives the same rows; what an earlier run has left there is not its own."""
    place, every = tmp_path / "store", np.ones(4, bool)
    DiskReservoir(place, ROW, 20).add(rows(50, 4), every)
    store = RunStore(ROW, 20, 6)
    after = lambda updates: store.after(place, updates, rows(4 * updates, 4), every, [3, 4])  # noqa: E731
    first = np.asarray(after(1).rows["x"])
    np.testing.assert_array_equal(first, [4, 5, 6, 7, 0, 0])
    second, again = after(2), after(2)
    held = set(np.asarray(second.rows["x"]).astype(int))
    assert int(second.size) == 6 == len(held) and held <= set(range(4, 12))
    np.testing.assert_array_equal(second.rows["x"], again.rows["x"])
    assert DiskReservoir(place, ROW, 20).offers == 2
    other = store.after(tmp_path / "other", 1, rows(4, 4), every, [3, 5])
    assert set(np.asarray(other.rows["x"]).astype(int)) == {0, 4, 5, 6, 7}


def test_a_store_must_have_met_what_the_run_has(tmp_path):
    """It may be one meta-update ahead of the last checkpoint, and never behind."""
    place, store = tmp_path / "store", RunStore(ROW, 20, 6)
    store.check(place, 0)
    with pytest.raises(AdaptaxError, match="is missing; put it back"):
        store.check(place, 1)
    for updates in (1, 2, 3):
        store.after(place, updates, rows(0, 4), np.ones(4, bool), [0])
    store.check(place, 3)
    store.check(place, 2)
    for updates in (1, 4):
        with pytest.raises(AdaptaxError, match=f"has met 3 meta-updates, and this run {updates}"):
            store.check(place, updates)
