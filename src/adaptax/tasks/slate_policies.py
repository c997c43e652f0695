"""What learners are compared with on slates of items: policies that score each item by what is told of it, of many users at once.

A rating is thought to be μ + w·x for the user's own w, where x is the item's row of `Ratings.known` and a 1. All but two keep the
ridge regression of the user's ratings seen so far, A = λI + Σ x xᵀ and b = λw₀ + Σ x (r − μ), so that ŵ = A⁻¹b.

    random         any item
    popularity     w₀·x, and nothing is learned of the user
    greedy         ŵ·x
    linucb         ŵ·x + α √(xᵀA⁻¹x)                    (Li et al. 2010, algorithm 1)
    thompson       w̃·x, w̃ ~ N(ŵ, v²A⁻¹)                 (Agrawal & Goyal 2013)

Where we depart from the papers: the regression may begin at w₀, what training users think on average, in place of 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Slates = Float[np.ndarray, "B T m d"]


@dataclasses.dataclass(frozen=True)
class Policy:
    """`ridge` 0: nothing is learned of the user."""

    ridge: float = 0.0
    """λ, in ratings."""
    informed: bool = True
    """The regression begins at w₀; else at 0."""
    bonus: float = 0.0
    """α"""
    noise: float = 0.0
    """v"""


def play(
    policy: Policy | None,
    x: Slates,
    rating: Float[np.ndarray, "B T m"],
    weights: Float[np.ndarray, " d"],
    mean: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "B T"]:
    """The rating of what is chosen from each of T slates of m items for each of B users, one slate after another.

    `x`: of each item; `weights`: w₀; `mean`: μ. None chooses at random.
    """
    users, interactions, _, d = x.shape
    chosen = np.zeros((users, interactions))
    each = np.arange(users)
    first = weights if policy is not None and policy.informed else np.zeros(d)
    a = np.tile((policy.ridge if policy else 0.0) * np.eye(d), (users, 1, 1))
    b = a @ first
    for t in range(interactions):
        score = rng.random(rating[:, t].shape)
        if policy is not None:
            score = _scores(policy, a, b, first, x[:, t], rng) + 1e-9 * score  # ties are broken at random
        best = score.argmax(1)
        reward, of_chosen = rating[each, t, best], x[each, t, best]
        chosen[:, t] = reward
        a += of_chosen[:, :, None] * of_chosen[:, None]
        b += of_chosen * (reward - mean)[:, None]
    return chosen


def _scores(
    policy: Policy,
    a: Float[np.ndarray, "B d d"],
    b: Float[np.ndarray, "B d"],
    first: Float[np.ndarray, " d"],
    x: Float[np.ndarray, "B m d"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "B m"]:
    if policy.ridge == 0.0:
        return x @ first
    inverse = np.linalg.inv(a)
    w = (inverse @ b[..., None])[..., 0]
    if policy.noise:
        w = w + policy.noise * (np.linalg.cholesky(inverse) @ rng.standard_normal((*w.shape, 1)))[..., 0]
    score = np.einsum("bmd,bd->bm", x, w)
    if policy.bonus:
        score += policy.bonus * np.sqrt(np.einsum("bmd,bde,bme->bm", x, inverse, x))
    return score


def average_weights(
    x: Float[np.ndarray, "n d"], rating: Float[np.ndarray, " n"], mean: float
) -> Float[np.ndarray, " d"]:
    """w₀: the ridge regression of training users' ratings."""
    return np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (rating - mean))


def grids() -> dict[str, Sequence[Policy | None]]:
    """Every reference by name, with the settings that are tried; the best on training users is the one to be compared with."""
    ridges = (3.0, 10.0, 30.0, 100.0)
    starts = [(ridge, informed) for ridge in ridges for informed in (False, True)]
    return {
        "random": [None],
        "popularity": [Policy()],
        "greedy": [Policy(*start) for start in starts],
        "linucb": [Policy(*start, bonus=α) for start in starts for α in (0.3, 1.0, 3.0)],
        "thompson": [Policy(*start, noise=v) for start in starts for v in (0.3, 1.0)],
    }
