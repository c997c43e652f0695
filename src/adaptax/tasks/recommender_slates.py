"""Recommending as reinforcement learning: one of a few items that a user has rated is shown to him, and he rates it."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.special import gammaln

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.tasks.ratings import KNOWN, OfRatings, Ratings
from adaptax.tasks.recommender import allowed
from adaptax.types import Candidates, Outcome, Spec


@dataclasses.dataclass(frozen=True)
class RecommenderSlates(OfRatings, TaskFamily):
    """A user is a task. Each interaction offers some of the items that he has rated; the reward is the stars of the one chosen.

    An interaction is an episode of one step, a lifetime is `interactions` of them with one user. Observed are, for each item on the
    slate, what training users' ratings say of it (`tasks/ratings.py`): its bias, its factors, how many there are. Slates are drawn
    independently, without repetition within one. Users and items are divided as by `Recommender`; only known items are shown.
    """

    slate: int = 5
    """Items to choose from."""
    interactions: int = 20
    """With one user, in a lifetime."""

    def __post_init__(self):
        if self.slate < 2 or self.interactions < 1:
            raise AdaptaxError(
                f"Slates need at least two items and one interaction, not {self.slate} and {self.interactions}."
            )
        super().__post_init__()

    @property
    def spec(self) -> Spec:
        return Spec(
            "recommender-slates",
            (self.slate, KNOWN),
            Candidates(self.slate, KNOWN),
            episode_steps=1,
            episodes=self.interactions,
            ood=False,
        )

    @property
    def fingerprint(self) -> str:
        """Of all ratings. AdaptaxError where they do not suffice."""
        for split in ("train", "test"):
            self.users(split)
        return self.ratings.fingerprint

    def users(self, split: Split) -> Int[np.ndarray, " users"]:
        """Those of a split with ratings enough for a slate. AdaptaxError where there is none."""
        there = shown(self.ratings, split).counts >= self.slate
        if not there.any():
            raise AdaptaxError(
                f"No {split} user has rated {self.slate} items; take a smaller slate, or give more ratings."
            )
        return np.flatnonzero(there)

    def sample(self, key: Key[Array, ""], split: Split) -> Int[Array, ""]:
        return jax.random.choice(key, jnp.asarray(self.users(split), jnp.int32))

    def reset(
        self, key: Key[Array, ""], task: Int[Array, ""]
    ) -> tuple[Int[Array, " slate"], Float[Array, "slate d"]]:
        of_all = shown(self.ratings, None)
        rows, count = jnp.asarray(of_all.rows)[task], jnp.asarray(of_all.counts)[task]
        order = jnp.where(jnp.arange(len(rows)) < count, jax.random.uniform(key, rows.shape), 2.0)
        slate = rows[jax.lax.top_k(-order, self.slate)[1]]
        return slate, jnp.asarray(self.ratings.known)[slate]

    def step(
        self, key: Key[Array, ""], state: Int[Array, " slate"], action: Int[Array, ""], task: Int[Array, ""]
    ) -> tuple[Int[Array, " slate"], Outcome]:
        stars = jnp.asarray(self.ratings.table.rating, jnp.float32)[state[action]]
        same = jnp.asarray(self.ratings.known)[state]
        return state, Outcome(same, stars, terminated=jnp.array(True), truncated=jnp.array(False))

    def optimal(self, task: Int[Array, ""]) -> Float[Array, ""]:
        """The expected rating of the best item on a slate: Σ r_(i) C(n−i, m−1) / C(n, m), ratings in falling order, n of them, m on
        a slate."""
        return jnp.asarray(_best_of_slate(self.ratings, self.slate), jnp.float32)[task]


class Shown(NamedTuple):
    """Each user's ratings of items that slates may hold; rows that only fill up come last."""

    rows: Int[np.ndarray, "users most"]
    counts: Int[np.ndarray, " users"]


@functools.lru_cache(maxsize=8)
def shown(ratings: Ratings, split: Split | None) -> Shown:
    """Of the users of a split, the others having none; of all users where it is None."""
    parts = [allowed(ratings, s, "users", ())[0] for s in ("train", "test") if split in (None, s)]
    there = np.any(parts, axis=0)
    order = np.argsort(~there, axis=1, kind="stable")
    counts = there.sum(1)
    return Shown(np.take_along_axis(ratings.rows, order, 1)[:, : counts.max()], counts)


@functools.lru_cache(maxsize=8)
def _best_of_slate(ratings: Ratings, slate: int) -> Float[np.ndarray, " users"]:
    rows, counts = shown(ratings, None)
    best = np.zeros(len(counts))
    for user, n in enumerate(counts):
        if n >= slate:
            falling = -np.sort(-ratings.table.rating[rows[user, :n]])
            below = n - 1 - np.arange(n)  # items behind the i-th, of which the slate's others are
            with np.errstate(invalid="ignore"):
                ways = gammaln(below + 1) - gammaln(slate) - gammaln(below - slate + 2)
            all_ways = gammaln(n + 1) - gammaln(slate + 1) - gammaln(n - slate + 1)
            best[user] = np.where(below >= slate - 1, np.exp(ways - all_ways), 0.0) @ falling
    return best
