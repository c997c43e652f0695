"""Planning on Bernoulli bandits with p_i ~ U[0, 1]: the exact Bayes-optimal value, and Gittins indices.

After s successes and f failures an arm's posterior is Beta(s+1, f+1): it pays with probability (s+1)/(s+f+2).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from adaptax.errors import AdaptaxError

Counts = tuple[tuple[int, int], ...]
"""A belief: (successes, failures) of every arm that has been pulled, sorted."""

MAX_BELIEFS = 500_000
"""The largest dynamic programme that `bayes_optimal_value` takes on: some ten seconds and 150 MB."""


@functools.cache
def bayes_optimal_value(arms: int, pulls: int) -> float:
    """The expected total reward of the best policy that does not know the arms, p_i ~ U[0, 1].

    Exact dynamic programming over beliefs b, backwards from the last pull:

        V_t(b) = max_i  p_i (1 + V_{t+1}(b after success of i)) + (1 − p_i) V_{t+1}(b after failure of i)

    Arms are exchangeable, so a belief is a multiset, and untouched arms are one: five arms and ten pulls have
    1,951 beliefs. Raises AdaptaxError where there are more than `MAX_BELIEFS`.
    """
    if arms < 1 or pulls < 1:
        raise AdaptaxError(f"A bandit needs at least one arm and one pull, not {arms} and {pulls}.")
    levels: list[set[Counts]] = [{()}]
    beliefs = 1
    for _ in range(pulls - 1):
        levels.append({after for b in levels[-1] for _, *both in outcomes(b, arms) for after in both})
        beliefs += len(levels[-1])
        if beliefs > MAX_BELIEFS:
            raise AdaptaxError(
                f"The exact Bayes-optimal value is out of reach: {arms} arms and {pulls} pulls have over "
                f"{MAX_BELIEFS:,} beliefs; ask for fewer arms or pulls, or compare with the Gittins policy."
            )
    value = {after: 0.0 for b in levels[-1] for _, *both in outcomes(b, arms) for after in both}
    for level in reversed(levels):
        value = {
            b: max(p * (1.0 + value[won]) + (1.0 - p) * value[lost] for p, won, lost in outcomes(b, arms))
            for b in level
        }
    return value[()]


def outcomes(belief: Counts, arms: int) -> Iterator[tuple[float, Counts, Counts]]:
    """For each distinct arm to pull: (probability of success, belief after success, belief after failure)."""
    for arm in set(belief):
        at = belief.index(arm)
        yield _pull(arm, belief[:at] + belief[at + 1 :])
    if len(belief) < arms:
        yield _pull((0, 0), belief)


def _pull(arm: tuple[int, int], others: Counts) -> tuple[float, Counts, Counts]:
    s, f = arm
    return (s + 1) / (s + f + 2), tuple(sorted((*others, (s + 1, f)))), tuple(sorted((*others, (s, f + 1))))


@functools.cache
def gittins_indices(
    discount: float, pulls: int, lookahead: int = 500, grid: int = 500
) -> Float[np.ndarray, "{pulls} {pulls}"]:
    """Gittins index ν[s, f] of an arm after s successes and f failures, for s + f < pulls; NaN elsewhere.

    By calibration (Gittins, Glazebrook & Weber 2011): ν is the wage λ of a safe arm at which it does not
    matter whether one takes the safe arm for ever or pulls once more first. For each λ of a grid, with
    p = (s+1)/(s+f+2) and values in units of 1 / (1 − γ),

        v(s, f) = max(λ, c(s, f)),   c(s, f) = (1 − γ) p + γ (p v(s+1, f) + (1 − p) v(s, f+1))

    backwards from `lookahead` pulls beyond the table, where v = max(λ, p). ν is the root of c − λ, which is
    convex and falling in λ, by linear interpolation. Errors are below 10⁻⁴ for γ ≤ 0.99, 10⁻³ for γ = 0.9999.
    """
    γ, λ = discount, np.linspace(0.0, 1.0, grid)
    indices = np.full((pulls, pulls), np.nan)
    deepest = pulls + lookahead
    v = np.maximum(λ, _chances(deepest))
    for n in reversed(range(deepest)):
        p = _chances(n)
        c = (1.0 - γ) * p + γ * (p * v[1:] + (1.0 - p) * v[:-1])
        if n < pulls:
            s = np.arange(n + 1)
            gain = c - λ
            left = (gain > 0.0).sum(axis=1) - 1
            above, below = gain[s, left], gain[s, left + 1]
            indices[s, n - s] = λ[left] + above / (above - below) * (λ[1] - λ[0])
        v = np.maximum(λ, c)
    indices.setflags(write=False)
    return indices


def _chances(n: int) -> Float[np.ndarray, "{n}+1 1"]:
    """p after n pulls with s = 0..n successes."""
    return (np.arange(n + 1)[:, None] + 1.0) / (n + 2.0)
