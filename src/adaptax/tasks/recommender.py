"""Recommender cold start: what will a user say of films, given a few of his ratings? What is new is the user, the film, or both."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.errors import AdaptaxError, short
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.tasks.ratings import KNOWN, ML100K_CONTENT, OfRatings, Ratings
from adaptax.types import Box, Spec

Cold = Literal["users", "items", "both"]
LEAST_QUERIES = 3
"""Ratings beside the support that a user must have, so that they can be put in order."""
AS_NEW = 0.2
"""The share of items asked about in meta-training of which a learner is told as little as of new ones."""


@dataclasses.dataclass(frozen=True)
class Recommender(OfRatings, SupervisedFamily):
    """A user is a task: from a few of his ratings the others are to be predicted (as Lee et al. 2019, MeLU).

    Without a file the ratings are MovieLens 100k's (downloaded; never part of this library). Training tasks are of 80% of the
    users, on 80% of the items. `cold` says what is new in a test task: the user, the items asked about, or both. The support
    is always of known items. Inputs are what training users' ratings say of the item (`tasks/ratings.py`; zero for new items), its
    genres and year, and the user's age, sex and occupation; labels are stars above the mean.
    """

    shots: int = 10
    """Ratings that are known of a user."""
    queries: int = 10
    """Ratings asked about, at most."""
    cold: Cold = "users"
    """What is new at test time: "users", rating known items; "items", rated by users trained on; or "both"."""
    test_genres: tuple[str, ...] = ()
    """Genres kept for testing: no training task holds an item of one, and test tasks hold only such. Empty: all genres in both."""

    def __post_init__(self):
        if self.shots < 1 or self.queries < LEAST_QUERIES:
            raise AdaptaxError(
                f"Recommender needs at least one shot and {LEAST_QUERIES} queries, not {self.shots} and {self.queries}."
            )
        if self.cold not in get_args(Cold):
            raise AdaptaxError(f"cold is one of {', '.join(get_args(Cold))}, not '{self.cold}'.")
        super().__post_init__()

    @property
    def spec(self) -> Spec:
        table = self.ratings.table if self.file else None
        content = (
            ML100K_CONTENT if table is None else table.item_content.shape[1] + table.user_content.shape[1]
        )
        return Spec(
            "recommender", (KNOWN + content,), Box((-math.inf,), (math.inf,)), episode_steps=self.shots, support=self.shots,
            shared_tasks=self.cold == "items", ood=False,
        )  # fmt: skip

    @property
    def fingerprint(self) -> str:
        """Of all ratings. AdaptaxError where they do not suffice."""
        for split in ("train", "test"):
            self.all_tasks(split)
        return self.ratings.fingerprint

    def all_tasks(self, split: Split) -> Int[Array, " users"]:
        """The users' numbers in `ratings.table.users`. AdaptaxError where there is none with ratings enough."""
        support, query = allowed(self.ratings, split, self.cold, self.test_genres)
        same = split == "train" or self.cold == "users"  # support and queries come from the same ratings
        enough = support.sum(1) >= self.shots + LEAST_QUERIES * same
        if not same:
            enough &= query.sum(1) >= LEAST_QUERIES
        if not enough.any():
            raise AdaptaxError(
                f"No {split} user has {self.shots} ratings and {LEAST_QUERIES} others to be asked about; take fewer shots, or give "
                "more ratings."
            )
        return jnp.asarray(np.flatnonzero(enough), jnp.int32)

    def sample(self, key: Key[Array, ""], split: Split) -> Int[Array, ""]:
        return jax.random.choice(key, self.all_tasks(split))

    def examples(self, key: Key[Array, ""], task: Int[Array, ""], split: Split) -> Examples:
        ratings = self.ratings
        may_support, may_query = (
            jnp.asarray(part)[task] for part in allowed(self.ratings, split, self.cold, self.test_genres)
        )
        rows = jnp.asarray(ratings.rows)[task]
        k_support, k_query, k_new = jax.random.split(key, 3)
        first = _random_order(k_support, may_support)[: self.shots]
        may_query &= ~jnp.zeros(rows.shape, bool).at[first].set(True)
        later = _random_order(k_query, may_query)[: self.queries]
        valid = jnp.arange(len(later)) < may_query.sum()
        as_new = jax.random.bernoulli(k_new, AS_NEW, later.shape) & (split == "train")
        x, y = self._inputs(rows[first], jnp.zeros(first.shape, bool)), self._labels(rows[first])
        asked, answers = self._inputs(rows[later], as_new), self._labels(rows[later])
        return Examples(x, y, asked, answers, query_valid=valid)

    def _inputs(self, rows: Int[Array, " n"], as_new: Bool[Array, " n"]) -> Float[Array, "n d"]:
        table = self.ratings.table
        known = jnp.where(as_new[:, None], 0.0, jnp.asarray(self.ratings.known)[rows])
        item, user = jnp.asarray(table.item)[rows], jnp.asarray(table.user)[rows]
        content = jnp.asarray(table.item_content, jnp.float32), jnp.asarray(table.user_content, jnp.float32)
        return jnp.concatenate([known, content[0][item], content[1][user]], 1)

    def _labels(self, rows: Int[Array, " n"]) -> Float[Array, "n 1"]:
        return jnp.asarray(self.ratings.table.rating - self.ratings.fit.mean, jnp.float32)[rows, None]

    def inputs(
        self, items: Sequence[str], user: str | None = None, new: Mapping[str, Sequence[str]] | None = None
    ) -> Float[np.ndarray, "n d"]:
        """What learners see of these items, by their names in the data, for a user of the data or (None) an unknown one.

        `new`: the genres of items that nobody has rated, by names that the data lack; nothing else is known of them.
        AdaptaxError for an item, a user or a genre that the data lack.
        """
        table, new = self.ratings.table, new or {}
        places = {name: i for i, name in enumerate(table.items)}
        unknown = [name for name in items if name not in places and name not in new]
        if unknown:
            raise AdaptaxError(
                f"The data have no item {short(unknown[0])}; ratings.table.items lists them, and new={{name: genres}} tells of "
                "others."
            )
        if user is not None and user not in table.users:
            raise AdaptaxError(f"The data have no user {short(user)}; ratings.table.users lists them.")
        content = 0 * table.user_content[0] if user is None else table.user_content[table.users.index(user)]
        rows = []
        for name in items:
            if name in places:
                known, told = self.ratings.known_of_item[places[name]], table.item_content[places[name]]
            else:
                known, told = np.zeros(KNOWN), np.zeros(table.item_content.shape[1])
                told[[_genre(table.genres, genre) for genre in new[name]]] = 1.0
            rows.append(np.concatenate([known, told, content]))
        return np.array(rows)

    def prepared_labels(self, y: np.ndarray) -> np.ndarray:
        """From ratings to distances from the training users' mean."""
        return np.asarray(y, np.float64) - self.ratings.fit.mean

    def restored(self, y: np.ndarray) -> np.ndarray:
        return y + self.ratings.fit.mean


@functools.lru_cache(maxsize=8)
def allowed(
    ratings: Ratings, split: Split, cold: Cold, test_genres: tuple[str, ...]
) -> tuple[Bool[np.ndarray, "users most"], Bool[np.ndarray, "users most"]]:
    """Which of `ratings.rows` may be in the support of a split's tasks, and which may be asked about."""
    table, trains = ratings.table, split == "train"
    item = table.item[ratings.rows]
    of_user = ~ratings.test_user if trains or cold == "items" else ratings.test_user
    there = (np.arange(item.shape[1]) < ratings.counts[:, None]) & of_user[:, None]
    if test_genres:
        chosen = [_genre(table.genres, genre) for genre in test_genres]
        kept = np.any(table.of_genre[:, chosen], axis=1)
        there &= kept[item] != trains
    new = ratings.new_item[item]
    return there & ~new, there & (~new if trains or cold == "users" else new)


def _genre(genres: Sequence[str], name: str) -> int:
    """Its number."""
    if name not in genres:
        raise AdaptaxError(f"The data have no genre '{name}'; they have {', '.join(genres) or 'none'}.")
    return genres.index(name)


def _random_order(key: Key[Array, ""], first: Bool[Array, " n"]) -> Int[Array, " n"]:
    """The places that are marked in random order, then the others."""
    return jnp.argsort(jnp.where(first, jax.random.uniform(key, first.shape), 2.0))
