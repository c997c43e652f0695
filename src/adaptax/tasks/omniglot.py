"""Omniglot: handwritten characters of 50 alphabets, 20 drawings of each (Lake, Salakhutdinov, Tenenbaum 2015)."""

from __future__ import annotations

import dataclasses
import functools
import zipfile
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.tasks.datasets import DataFile
from adaptax.types import Discrete, Spec

VERSION = "https://raw.githubusercontent.com/bitsandscraps/omniglot/b0481240b7eb42393285a93ce7d2f266ff10c62b"
FILES = {
    "train": DataFile(
        "omniglot", "images_background.npz", f"{VERSION}/images_background.npz",
        "8bf84167413cd00beacdce3fe582f780ab538d8dbef043a6d688f2527bbce199",
    ),
    "test": DataFile(
        "omniglot", "images_evaluation.npz", f"{VERSION}/images_evaluation.npz",
        "0b84c7ffd94c4841c0040e529c86a82eaaccb986d8eadad5673f7991b7475276",
    ),
}  # fmt: skip
"""The published drawings as arrays, by split."""
CHARACTERS = {"train": 964, "test": 659}
VALIDATION = 164
"""Characters of the background set, the last ones, that `part="fit"` keeps out of training."""
DRAWINGS = 20
"""Of each character."""


class Characters(eqx.Module):
    """A task: which characters are its classes, and how each is turned."""

    number: Int[Array, " ways"]
    """Among all characters: those of the background set, then those of the evaluation set."""
    quarter_turns: Int[Array, " ways"]
    """Counterclockwise."""


@dataclasses.dataclass(frozen=True)
class Omniglot(SupervisedFamily):
    """N-way K-shot classification of handwritten characters: which of a task's N characters is it, K drawings of each being known?

    A character turned by 90°, 180° or 270° is another class (Santoro et al. 2016). Tasks of `train` take theirs from the 30
    alphabets of the background set, those of `test` from the 20 of the evaluation set; there is no `ood`. Which drawings are shown,
    and which number a character has as a class, is drawn anew for each task. Pixels are the share of ink, 0 to 1, in an image
    brought from 105 × 105 to `side` × `side` by averages over areas. Licence of the data: MIT.
    """

    ways: int = 5
    """Characters to be told apart, N."""
    shots: int = 1
    """Drawings of each character in the support, K."""
    queries: int = 15
    """Other drawings of each character, which are asked about."""
    side: int = 28
    """Height and width of an image, pixels."""
    turned: bool = True
    """Turned characters are classes of their own; False: nothing is turned."""
    part: Literal["all", "fit", "validation"] = "all"
    """Of the background set's characters, which ones the tasks of `train` take theirs from: all, all but the last 164, or these. A
    search for an architecture trains on "fit" and scores on "validation"."""

    def __post_init__(self):
        if self.shots < 1 or self.queries < 1 or self.shots + self.queries > DRAWINGS:
            raise AdaptaxError(
                f"There are {DRAWINGS} drawings of a character, for at least one shot and one query; {self.shots} shots and "
                f"{self.queries} queries cannot be."
            )
        if not 2 <= self.ways <= CHARACTERS["test"]:
            raise AdaptaxError(f"ways must be between 2 and {CHARACTERS['test']}, not {self.ways}.")
        if not 1 <= self.side <= 105:
            raise AdaptaxError(f"side must be between 1 and 105 pixels, not {self.side}.")

    @property
    def spec(self) -> Spec:
        n = self.ways * self.shots
        shape = (self.side, self.side, 1)
        return Spec("omniglot", shape, Discrete(self.ways), episode_steps=n, support=n, ood=False)

    def sample(self, key: Key[Array, ""], split: Split) -> Characters:
        turns = 4 if self.turned else 1
        first, number = self.characters(split)
        classes = distinct(jax.random.uniform(key, (turns * number,)), self.ways)
        return Characters(first + classes // turns, classes % turns)

    def characters(self, split: Split) -> tuple[int, int]:
        """The first one that tasks of a split take theirs from, and how many there are."""
        fitted = CHARACTERS["train"] - VALIDATION
        if split == "test":
            return CHARACTERS["train"], CHARACTERS["test"]
        return {"all": (0, CHARACTERS["train"]), "fit": (0, fitted), "validation": (fitted, VALIDATION)}[
            self.part
        ]

    def examples(self, key: Key[Array, ""], task: Characters, split: Split) -> Examples:
        n, shown = self.ways * self.shots, self.shots + self.queries
        dice = jax.random.uniform(key, (self.ways * DRAWINGS + n,))
        which = distinct(dice[n:].reshape(self.ways, DRAWINGS), shown)
        images = jnp.asarray(drawings(split, self.side))
        first = CHARACTERS["train"] if split == "test" else 0
        x = turned(images[(task.number - first)[:, None], which], task.quarter_turns)
        x = (x.astype(jnp.float32) / 255.0)[..., None]
        y = jnp.broadcast_to(jnp.arange(self.ways)[:, None], (self.ways, shown))

        def rows(a: Array) -> tuple[Array, Array]:
            support, query = a[:, : self.shots], a[:, self.shots :]
            return support.reshape(-1, *a.shape[2:]), query.reshape(-1, *a.shape[2:])

        (support_x, query_x), (support_y, query_y) = rows(x), rows(y)
        order = jnp.argsort(dice[:n])  # for learners that read one by one
        return Examples(support_x[order], support_y[order], query_x, query_y)


def distinct(dice: Float[Array, "... of"], number: int) -> Int[Array, "... number"]:
    """So many different numbers below `of` in random order, from as many independent uniform draws as there are numbers."""
    return jax.lax.top_k(dice, number)[1]


def turned(
    x: UInt8[Array, "ways n side side"], quarters: Int[Array, " ways"]
) -> UInt8[Array, "ways n side side"]:
    """The images of each class turned counterclockwise by so many quarters."""
    side = x.shape[-1]
    place = np.arange(side * side).reshape(side, side)
    from_where = jnp.asarray(np.stack([np.rot90(place, k).reshape(-1) for k in range(4)]))[quarters]
    pixels = jnp.take_along_axis(x.reshape(*x.shape[:2], -1), from_where[:, None], axis=-1)
    return pixels.reshape(x.shape)


@functools.cache
def drawings(split: Split, side: int) -> UInt8[np.ndarray, "characters drawings side side"]:
    """All drawings of a split, 255 where a pixel is all ink. AdaptaxError where the data cannot be had."""
    path = FILES[split].path()
    try:
        with np.load(path) as file:
            paper = file["images"]
    except (
        OSError,
        KeyError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:  # its checksum is right: numpy cannot read it
        raise AdaptaxError(f"{path} cannot be read ({error}); update numpy.") from None
    return shrunk(~paper.astype(bool), side)


def shrunk(ink: np.ndarray, side: int) -> UInt8[np.ndarray, "... side side"]:
    """Square images of 0 and 1 brought to a smaller side: the mean over the area that each pixel covers, times 255."""
    size = ink.shape[-1]
    edges = np.linspace(0, size, side + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shares = (np.clip(overlap, 0, None) * side / size).astype(np.float32)  # [side, size], rows of sum 1

    def of_one(x: np.ndarray) -> np.ndarray:
        columns = (x.reshape(-1, size).astype(np.float32) @ shares.T).reshape(-1, size, side)
        rows = columns.swapaxes(1, 2).reshape(-1, size) @ shares.T
        return np.rint(255.0 * rows.reshape(-1, side, side).swapaxes(1, 2)).astype(np.uint8)

    return np.stack([of_one(x) for x in ink])
