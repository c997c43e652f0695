"""Ratings of items by users: MovieLens 100k or a user's own file, and what the ratings of training users say of each item.

    r_ui ≈ μ + b_u + v_i·z_u,   z_u = (1, p_u)        v_i = (b_i, q_i): how item i is liked, and by whom

Biases and factors are fitted by alternating ridge regressions to the ratings that training users gave to items that are not kept as
new (Koren, Bell, Volinsky 2009). What a training user is told of an item he rated is fitted without his own rating.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from adaptax.errors import AdaptaxError
from adaptax.tasks.csv_files import read_rows
from adaptax.tasks.datasets import DataFile

TEST_SHARE = 0.2
"""Of the users who are kept for testing, and of the items that count as new."""
FACTORS = 8
ROUNDS = 12
"""Of the alternating regressions."""
BIAS_RIDGE, FACTOR_RIDGE = 5.0, 15.0
"""As many ratings as these speak against a bias, and against a factor of unit size."""
KNOWN = FACTORS + 2
"""Numbers that ratings say of an item: its bias, its factors, and how many there are."""
MOST_RATINGS = 500
"""Of one user that are drawn from; of a user with more they are a random part."""

_SOURCE = "https://files.grouplens.org/datasets/movielens/ml-100k/"
ML100K = {
    name: DataFile("ml-100k", name, _SOURCE + name, digest)
    for name, digest in {
        "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
        "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
        "u.genre": "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb",
        "u.occupation": "cd5fbec9afe345d993a62fc7817df1a4a9079c4feb267b3118763b8fd942137d",
    }.items()
}
ML100K_GENRES, ML100K_CONTENT = 19, 43
"""Of a film, and numbers that are told of a film (its genres, its year) and a user (age, sex, 21 occupations)."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Who rated what how, and what is told of both beside."""

    user: Int[np.ndarray, " n"]
    item: Int[np.ndarray, " n"]
    rating: Float[np.ndarray, " n"]
    users: list[str]
    items: list[str]
    genres: list[str]
    of_genre: Bool[np.ndarray, "items genres"]
    item_content: Float[np.ndarray, "items a"]
    user_content: Float[np.ndarray, "users b"]


def movielens() -> Table:
    """The 100,000 ratings of 1,682 films by 943 users (Harper & Konstan 2015)."""

    def fields(name: str, separator: str) -> list[list[str]]:
        lines = ML100K[name].path().read_text("latin-1").splitlines()
        return [line.split(separator) for line in lines if line]

    data = np.array([[int(x) for x in row] for row in fields("u.data", "\t")])
    films, people = fields("u.item", "|"), fields("u.user", "|")
    genres = [row[0] for row in fields("u.genre", "|")]
    of_genre = np.array([[flag == "1" for flag in row[5:]] for row in films])
    year = np.array([float(row[2][-4:] or 1990) for row in films])
    jobs = [row[0] for row in fields("u.occupation", "|")]
    told = [
        [float(row[1]) / 20 - 1.7, float(row[2] == "F"), *(float(row[3] == job) for job in jobs)]
        for row in people
    ]
    return Table(
        data[:, 0] - 1, data[:, 1] - 1, data[:, 2].astype(float), [row[0] for row in people], [row[1] for row in films], genres,
        of_genre, np.column_stack([of_genre, (year - 1990) / 10]), np.array(told),
    )  # fmt: skip


def read_ratings(path: Path) -> Table:
    """A CSV with the columns user, item, rating and perhaps genres ("Action|Comedy"), in any order.

    AdaptaxError, with the number of the line, for a malformed file, a rating that is no number, a user who rates an item twice, or
    an item whose genres differ.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    named: dict[int, tuple[str, int]] = {}
    seen: dict[tuple[int, int], int] = {}
    ratings: list[float] = []
    for line, fields in read_rows(path, ("user", "item", "rating"), ("genres",)):
        where = f"{path}, line {line}"
        try:
            rating = float(fields["rating"])
        except ValueError:
            rating = np.nan
        if not np.isfinite(rating):
            raise AdaptaxError(f"{where}: the rating '{fields['rating']}' is no finite number; correct it.")
        pair = users.setdefault(fields["user"], len(users)), items.setdefault(fields["item"], len(items))
        if pair in seen:
            raise AdaptaxError(
                f"{where}: user '{fields['user']}' has rated item '{fields['item']}' in line {seen[pair]} "
                "already; keep one of the two."
            )
        before, at = named.setdefault(pair[1], (fields.get("genres", ""), line))
        if before != fields.get("genres", ""):
            raise AdaptaxError(
                f"{where}: item '{fields['item']}' has the genres '{fields['genres']}' here and '{before}' in "
                f"line {at}; make them alike."
            )
        seen[pair] = line
        ratings.append(rating)
    genres = sorted({genre for text, _ in named.values() for genre in text.split("|") if genre})
    of_genre = np.array([[genre in named[i][0].split("|") for genre in genres] for i in range(len(items))])
    of_genre = of_genre.reshape(len(items), len(genres)).astype(bool)
    user, item = np.array(list(seen)).T
    return Table(
        user,
        item,
        np.array(ratings),
        list(users),
        list(items),
        genres,
        of_genre,
        of_genre.astype(float),
        np.zeros((len(users), 0)),
    )


class Fit(NamedTuple):
    """What ratings say of items, and of the users they are by."""

    mean: float
    """μ"""
    user_bias: Float[np.ndarray, " users"]
    user_factors: Float[np.ndarray, "users f"]
    """p_u; of users without ratings zero, as is the bias."""
    item: Float[np.ndarray, "items f1"]
    """v_i; of items without ratings zero."""
    left_out: Float[np.ndarray, "n f1"]
    """v_i fitted without the rating itself, for each rating."""


def fit(
    user: Int[np.ndarray, " n"],
    item: Int[np.ndarray, " n"],
    rating: Float[np.ndarray, " n"],
    users: int,
    items: int,
) -> Fit:
    """Biases and factors of so many users and items from some ratings."""
    mean = float(rating.mean())
    ridge = np.array([BIAS_RIDGE] + [FACTOR_RIDGE] * FACTORS)
    rng = np.random.default_rng(0)
    v = np.column_stack([np.zeros(items), 0.1 * rng.standard_normal((items, FACTORS))])
    u = np.zeros((users, FACTORS + 1))
    for _ in range(ROUNDS):
        # A user's own part is (b_u, p_u) on (1, q_i); an item's is (b_i, q_i) on (1, p_u).
        one = np.ones(len(rating))
        towards = np.column_stack([one, v[item, 1:]])
        u = _regressions(user, towards, rating - mean - v[item, 0], users, ridge)[0]
        towards = np.column_stack([one, u[user, 1:]])
        v, a, b = _regressions(item, towards, rating - mean - u[user, 0], items, ridge)
    towards = np.column_stack([np.ones(len(rating)), u[user, 1:]])
    target = rating - mean - u[user, 0]
    without = a[item] - towards[:, :, None] * towards[:, None]
    left_out = np.linalg.solve(without, (b[item] - towards * target[:, None])[..., None])[..., 0]
    return Fit(mean, u[:, 0], u[:, 1:], v, left_out)


def _regressions(
    group: Int[np.ndarray, " n"],
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, " n"],
    groups: int,
    ridge: Float[np.ndarray, " d"],
) -> tuple[Float[np.ndarray, "g d"], Float[np.ndarray, "g d d"], Float[np.ndarray, "g d"]]:
    """For each group the w that minimises Σ (y − w·x)² + Σ_j ridge_j w_j², and the system A w = b that it solves."""
    a = np.tile(np.diag(ridge), (groups, 1, 1))
    b = np.zeros((groups, x.shape[1]))
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(groups + 1))
    for g in range(groups):
        rows = order[ends[g] : ends[g + 1]]
        a[g] += x[rows].T @ x[rows]
        b[g] = x[rows].T @ y[rows]
    return np.linalg.solve(a, b[..., None])[..., 0], a, b


class Ratings:
    """A table of ratings, divided: users to train and to test on, items that are known and items that are new."""

    def __init__(self, table: Table):
        self.table = table
        rng = np.random.default_rng(0)
        self.test_user = _a_share(len(table.users), rng)
        self.new_item = _a_share(len(table.items), rng)
        trained = ~self.test_user[table.user] & ~self.new_item[table.item]
        if not trained.any():
            raise AdaptaxError(
                "There are too few ratings to train on some users and test on others; give more."
            )
        self.fit = fit(
            table.user[trained],
            table.item[trained],
            table.rating[trained],
            len(table.users),
            len(table.items),
        )
        counts = np.bincount(table.item[trained], minlength=len(table.items))
        said = self.fit.item[table.item].copy()
        said[trained] = self.fit.left_out
        number = counts[table.item] - trained
        self.scale = np.sqrt((self.fit.left_out**2).mean(0)) + 1e-6
        self.known = self.scaled(said, number)
        """[n, KNOWN]: what is told a rating's user of its item, in units of about 1; of new items zero."""
        self.known_of_item = self.scaled(self.fit.item, counts)
        """[items, KNOWN]: the same for users whose ratings had no part in it."""
        order = rng.permutation(len(table.rating))
        by_user: list[list[int]] = [[] for _ in table.users]
        for row in order:
            if len(by_user[table.user[row]]) < MOST_RATINGS:
                by_user[table.user[row]].append(int(row))
        most = max(map(len, by_user))
        self.counts = np.array([len(rows) for rows in by_user])
        self.rows = np.array([rows + [0] * (most - len(rows)) for rows in by_user])
        """[users, most]: each user's ratings, in random order; those that only fill up come last."""

    def scaled(
        self, said: Float[np.ndarray, "n f1"], number: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n known"]:
        known = np.column_stack([said / self.scale, np.log1p(number) / 3])
        return np.where((number > 0)[:, None], known, 0.0).astype(np.float32)

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for part in (self.table.user, self.table.item, self.table.rating, self.table.of_genre):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


def _a_share(number: int, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    chosen = np.zeros(number, bool)
    chosen[rng.permutation(number)[: round(TEST_SHARE * number)]] = True
    return chosen


@dataclasses.dataclass(frozen=True)
class OfRatings:
    """What families of ratings share: where these come from."""

    file: str = ""
    """A CSV of your own with the columns user, item, rating and perhaps genres, as in NAME:my.csv; empty: MovieLens 100k."""

    def __post_init__(self):
        if self.file:
            object.__setattr__(self, "file", str(Path(self.file).resolve()))
            read_ratings(Path(self.file))  # a mistake in it is told before anything else is done

    @property
    def ratings(self) -> Ratings:
        """Read once in a process."""
        return _own_file(self.file, Path(self.file).stat().st_mtime_ns) if self.file else _movielens()


@functools.lru_cache(maxsize=2)
def _own_file(file: str, changed: int) -> Ratings:
    return Ratings(read_ratings(Path(file)))


@functools.lru_cache(maxsize=1)
def _movielens() -> Ratings:
    return Ratings(movielens())
