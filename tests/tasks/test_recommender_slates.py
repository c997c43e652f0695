"""Slates of items that a user has rated, and the policies that learners are compared with there."""

from __future__ import annotations

import functools
import itertools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.ratings import KNOWN
from adaptax.tasks.recommender_slates import RecommenderSlates, shown
from adaptax.tasks.registry import describe
from adaptax.tasks.slate_policies import Policy, average_weights, play

USERS, ITEMS = 10, 12


@functools.cache
def shared_family() -> RecommenderSlates:
    path = Path(tempfile.mkdtemp()) / "my.csv"
    rng = np.random.default_rng(0)
    rows = [f"{u},{i},{rng.integers(1, 6)}" for u in range(USERS) for i in range(ITEMS) if (u + 2 * i) % 5]
    path.write_text("\n".join(["user,item,rating", *rows]))
    return RecommenderSlates(file=str(path), slate=3, interactions=4)


@pytest.fixture
def family() -> RecommenderSlates:
    return shared_family()


def check_slates() -> None:
    """A slate holds different items of the task's user, none of them new; its rating is what is paid."""
    family = shared_family()
    ratings = family.ratings
    table = ratings.table
    for seed, split in itertools.product(range(4), ("train", "test")):
        key = jax.random.key(seed)
        user = int(family.sample(key, split))
        assert ratings.test_user[user] == (split == "test")
        rows, obs = family.reset(key, jnp.int32(user))
        held = np.asarray(rows)
        assert len(set(held.tolist())) == 3 and set(table.user[held]) == {user}
        assert not ratings.new_item[table.item[held]].any()
        np.testing.assert_allclose(obs.reshape(3, KNOWN), ratings.known[held])
        _, outcome = family.step(key, rows, jnp.int32(1), jnp.int32(user))
        assert outcome.reward == table.rating[held[1]] and outcome.terminated


def test_slates_are_the_users_own_ratings():
    check_slates()


def test_the_best_of_a_slate_by_enumeration(family):
    of_all = shown(family.ratings, None)
    for user in (0, 3, 7):
        stars = family.ratings.table.rating[of_all.rows[user, : of_all.counts[user]]]
        by_hand = np.mean([max(slate) for slate in itertools.combinations(stars, 3)])
        np.testing.assert_allclose(family.optimal(jnp.int32(user)), by_hand, rtol=1e-5)


def test_a_slate_that_nobody_can_fill_is_told(family):
    with pytest.raises(AdaptaxError, match="No train user has rated 12 items"):
        describe(RecommenderSlates(file=family.file, slate=12))


def lives(users: int = 300):
    """Users whose ratings are linear in what is told, each with a taste of his own about the common one."""
    rng = np.random.default_rng(0)
    common = np.array([1.0, 0.0, 0.0])
    x = rng.standard_normal((users, 15, 4, 3))
    taste = common + rng.standard_normal((users, 1, 1, 3)) * [0.3, 1.0, 1.0]
    return x, 3.0 + (x * taste).sum(-1) + 0.3 * rng.standard_normal(x.shape[:3]), common


def check_policies() -> None:
    """What knows the common taste is better than nothing, what learns the user's own better still, and as time goes on."""
    x, rating, common = lives()
    earned = {
        name: play(policy, x, rating, common, 3.0, np.random.default_rng(0))
        for name, policy in {
            "random": None,
            "popularity": Policy(),
            "greedy": Policy(1.0), "linucb": Policy(1.0, bonus=0.5), "thompson": Policy(1.0, noise=0.5)
        }.items()
    }  # fmt: skip
    mean = {name: e.mean() for name, e in earned.items()}
    assert abs(mean["random"] - 3.0) < 0.1 < mean["popularity"] - 3.5
    for name in ("greedy", "linucb", "thompson"):
        assert mean[name] > mean["popularity"] + 0.3
        assert earned[name][:, 10:].mean() > earned[name][:, :3].mean() + 0.3


def test_references_learn_a_users_taste():
    check_policies()


def test_the_common_taste_is_found():
    x, rating, common = lives()
    np.testing.assert_allclose(average_weights(x.reshape(-1, 3), rating.reshape(-1), 3.0), common, atol=0.15)
