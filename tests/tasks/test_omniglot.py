"""Omniglot, on made-up drawings; on the real ones where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks import omniglot
from adaptax.tasks.base import Examples, Split
from adaptax.tasks.omniglot import CHARACTERS, DRAWINGS, Characters, Omniglot, drawings, shrunk, turned
from adaptax.tasks.registry import describe, rebuild

SIDE = 3


def made_up(split: Split, side: int) -> np.ndarray:
    """The first pixels of a drawing say which one it is: high and low part of the character's number, and the drawing's own."""
    x = np.zeros((CHARACTERS[split], DRAWINGS, side, side), np.uint8)
    number = np.arange(CHARACTERS[split])[:, None]
    x[..., 0, 0], x[..., 0, 1], x[..., 0, 2] = number // 256, number % 256, np.arange(DRAWINGS)
    return x


def drawn(family: Omniglot, split: Split = "train", seed: int = 0) -> tuple[Characters, Examples]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot, "drawings", made_up)
        k_task, k_examples = jax.random.split(jax.random.key(seed))
        task = family.sample(k_task, split)
        return task, jax.jit(family.examples, static_argnums=2)(k_examples, task, split)


def check_labels() -> None:
    """Each label stands for one character of the split; no drawing is in the support and a query; the order is no class's."""
    family = Omniglot(ways=6, shots=2, queries=3, side=SIDE, turned=False)
    for split, first in (("train", 0), ("test", CHARACTERS["train"])):
        task, found = drawn(family, split)
        assert found.support_x.shape == (12, SIDE, SIDE, 1) and found.query_x.shape == (18, SIDE, SIDE, 1)
        seen = set()
        for x, y in ((found.support_x, found.support_y), (found.query_x, found.query_y)):
            pixels = np.rint(255.0 * np.asarray(x)[:, 0, :, 0]).astype(int)
            character = first + 256 * pixels[:, 0] + pixels[:, 1]
            np.testing.assert_array_equal(character, np.asarray(task.number)[np.asarray(y)])
            seen |= {(int(c), int(d)) for c, d in zip(character, pixels[:, 2], strict=True)}
        assert len(seen) == 30 and len(set(np.asarray(task.number).tolist())) == 6
        assert not (np.diff(np.asarray(found.support_y)) >= 0).all()


def test_labels_are_those_of_the_drawings():
    check_labels()


def check_turns() -> None:
    x = jnp.arange(9, dtype=jnp.uint8).reshape(1, 1, 3, 3)
    for quarters in range(4):
        [[found]] = turned(x, jnp.array([quarters]))
        np.testing.assert_array_equal(found, np.rot90(np.asarray(x)[0, 0], quarters))


def test_a_turned_character_is_another_class():
    check_turns()
    classes = {(int(n), int(q)) for i in range(6) for t in [drawn(Omniglot(ways=20, side=SIDE), seed=i)[0]]
               for n, q in zip(t.number, t.quarter_turns, strict=True)}  # fmt: skip
    assert len({q for _, q in classes}) == 4 and len(classes) > 100


def check_shrinking() -> None:
    x = np.zeros((1, 1, 4, 4), bool)
    x[..., :2, :2] = True
    np.testing.assert_array_equal(shrunk(x, 2)[0, 0], [[255, 0], [0, 0]])
    # A pixel of three covers four thirds of one of four: the second column is a half of two that are 1 and 0.
    np.testing.assert_array_equal(shrunk(x, 3)[0, 0], np.rint(255 * np.outer([1, 0.5, 0], [1, 0.5, 0])))


def test_pixels_are_means_over_areas():
    check_shrinking()


def test_what_cannot_be_is_told():
    for fields in ({"shots": 0}, {"shots": 10, "queries": 11}, {"ways": 1}, {"side": 0}):
        with pytest.raises(AdaptaxError):
            Omniglot(**fields)
    family = Omniglot(ways=3, queries=1)
    assert rebuild(describe(family)) == family and not family.spec.ood


def test_missing_data_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTAX_DATA", str(tmp_path))
    drawings.cache_clear()
    with pytest.raises(AdaptaxError, match=r"There is no .*images_background\.npz"):
        Omniglot().examples(jax.random.key(0), Characters(jnp.arange(5), jnp.zeros(5, jnp.int32)), "train")


@pytest.mark.skipif(
    not (Path(os.environ.get("ADAPTAX_DATA", "")) / "omniglot").is_dir(),
    reason="ADAPTAX_DATA names no folder with omniglot",
)
def test_the_real_drawings():
    drawings.cache_clear()
    found = drawings("test", 28)
    assert found.shape == (659, 20, 28, 28) and found.dtype == np.uint8
    ink = found.mean() / 255.0
    assert 0.03 < ink < 0.15  # strokes on paper, not the other way round
    assert len(np.unique(found.reshape(659 * 20, -1), axis=0)) == 659 * 20
