"""Aggregates over seeds and tasks, with intervals that say how far they can be trusted.

Everything is numpy in float64. A score matrix is `[seeds, tasks]`: row s is one meta-training run, column m
one task that *every* run meets. Bad input (NaN, infinities, wrong shapes) raises `AdaptaxError`.

Sources. Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (IQM,
stratified bootstrap, probability of improvement); Owen 2007, "The pigeonhole bootstrap"
(rows and columns of a crossed design resampled at once).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from scipy.special import ndtri

from adaptax.errors import AdaptaxError

Statistic = Literal["iqm", "mean"]
Over = Literal["both", "seeds", "tasks", "stratified"]
Scores = Real[np.ndarray, "seeds tasks"]
AnyScores = Real[np.ndarray, "..."]
Floats = Float[np.ndarray, "..."]

CHUNK_WEIGHTS = 1 << 19
"""Resampling weights that are held at once: a handful of arrays of 4 MB, whatever the number of resamples."""


class Estimate(NamedTuple):
    """A point estimate and the ends of its interval, in the units of the scores."""

    value: float
    low: float
    high: float


# --- aggregates --------------------------------------------------------------------------------


def iqm(scores: AnyScores, axis: int | None = None) -> float | Floats:
    """Interquartile mean: the mean of the middle half of the scores, over all of them or along one axis.

    Of n scores the floor(n/4) lowest and the floor(n/4) highest are left out, and the others count alike.
    That is the convention of rliable and of `scipy.stats.trim_mean(scores, 0.25)`, so numbers compare with
    published ones; where 4 does not divide n it keeps slightly more than the half (all of them for n < 4).
    """
    x = _finite(scores)
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    n, cut = x.shape[axis], x.shape[axis] // 4
    middle = np.take(np.sort(x, axis=axis), np.arange(cut, n - cut), axis=axis).mean(axis=axis)
    return float(middle) if middle.ndim == 0 else middle


# --- intervals ---------------------------------------------------------------------------------


def interval(
    scores: Scores,
    statistic: Statistic = "iqm",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    over: Over = "both",
) -> tuple[float, float]:
    """Percentile bootstrap interval of the IQM or the mean of all scores: (low, high).

    `over` says which population the interval speaks of: what would be drawn anew if the study were repeated.

    - `"both"` (default): *another training run, meeting other tasks of the family*. Seeds are drawn, then
      tasks, and every drawn seed meets the same drawn tasks (Owen 2007), because what one run does on all
      tasks, and what one task does to all runs, does not average out within the matrix. With one seed only
      tasks are drawn, with one task only seeds: the interval then speaks of that run, or of that task, alone.
    - `"seeds"`: another training run on these very tasks (a finite family, all of it here). Whole rows are
      drawn.
    - `"tasks"`: these very runs on other tasks. Whole columns are drawn.
    - `"stratified"`: seeds drawn within each task by itself (Agarwal et al. 2021; rliable). It takes the runs
      of different tasks for independent, which holds where every score has a training of its own (from
      scratch on each task). A meta-trained run is shared by its whole row, and then this interval is far too
      narrow.

    With few seeds any bootstrap over seeds is too narrow, by √(1 - 1/S) and by the missing tail of Student's
    t: with 5 seeds that differ far more than the tasks do, a nominal 95% interval of the mean covers about
    83%.

    Returns (nan, nan) where nothing is left to draw from (a single score, or one seed with `over="seeds"`).
    """
    x = _matrix(scores)
    _check_options(level, resamples)
    if _nothing_to_draw(x.shape[0], x.shape[1], over):
        return float("nan"), float("nan")

    # A resample is a weight for each score (how often it was drawn); on sorted scores its trimmed mean needs
    # no more than the running sum of these weights.
    order = np.argsort(x, axis=None)
    ordered, n = x.ravel()[order], x.size
    cut = n // 4 if statistic == "iqm" else 0
    rng = np.random.default_rng(seed)
    values = []
    for draws in _chunks(resamples, n):
        weights = _seed_counts(rng, draws, x.shape, over) * _task_counts(rng, draws, x.shape, over)
        drawn = np.cumsum(np.take(weights.reshape(draws, n), order, axis=1), axis=1).clip(cut, n - cut)
        total = (drawn[:, 0] - cut) * ordered[0] + np.diff(drawn, axis=1) @ ordered[1:]
        values.append(total / (n - 2 * cut))
    return _percentiles(np.concatenate(values), level)


def paired_interval(
    a: Scores,
    b: Real[np.ndarray, "seeds_b tasks_b"],
    statistic: Statistic = "iqm",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    over: Over = "both",
) -> tuple[float, float]:
    """Interval of the IQM or the mean of the differences a - b of scores of the same seeds on the same tasks.

    Adapted minus unadapted, or one learner minus another: what makes a task hard for both cancels. An
    interval above zero says that `a` is better. The IQM of the differences is the gain on a typical task, not
    the difference of the two IQMs.
    """
    a, b = _matrix(a), _matrix(b)
    if a.shape != b.shape:
        raise AdaptaxError(
            f"paired scores must be of the same seeds and tasks, but have shapes {a.shape} and {b.shape}: "
            "evaluate both with the same seeds on the same tasks"
        )
    return interval(a - b, statistic, level, resamples, seed, over)


def probability_of_improvement(
    x: Scores,
    y: Real[np.ndarray, "seeds_y tasks_y"],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    over: Over = "both",
) -> Estimate:
    """How probable it is that a run of X beats a run of Y on a task drawn at random (Agarwal et al. 2021,
    §4).

    P(X > Y) = (1/M) Σ_m (1/SR) Σ_s Σ_r S(x_sm, y_rm),   S(x, y) = 1 if x > y, ½ if x = y, 0 if x < y

    It is each task's Mann-Whitney U as a fraction of its largest value, averaged over the M tasks. For the
    interval, runs of X and of Y are drawn separately and tasks together; `over` is that of `interval`. The
    interval is (nan, nan) where nothing is left to draw from.
    """
    x, y = _matrix(x), _matrix(y)
    if x.shape[1] != y.shape[1]:
        raise AdaptaxError(
            f"both learners must meet the same tasks, but one has {x.shape[1]} and the other {y.shape[1]}"
        )
    _check_options(level, resamples)
    wins = np.heaviside(x[:, None] - y[None], 0.5)  # [seeds_x, seeds_y, tasks]
    value = float(wins.mean())
    if _nothing_to_draw(max(len(x), len(y)), x.shape[1], over):
        return Estimate(value, float("nan"), float("nan"))

    rng = np.random.default_rng(seed)
    values = []
    for draws in _chunks(resamples, wins.size):
        weights_x = _seed_counts(rng, draws, x.shape, over) * _task_counts(rng, draws, x.shape, over)
        weights_y = np.broadcast_to(_seed_counts(rng, draws, y.shape, over), (draws, *y.shape))
        values.append(np.einsum("bsm,srm,brm->b", weights_x, wins, weights_y, optimize=True) / wins.size)
    return Estimate(value, *_percentiles(np.concatenate(values), level))


def standard_error(scores: AnyScores) -> float:
    """Standard error of the mean of independent scores, s/√n with s over n-1; nan for a single score."""
    x = _finite(scores)
    return float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else float("nan")


def normal_interval(scores: AnyScores, level: float = 0.95) -> tuple[float, float]:
    """x̄ ± z·s/√n: the interval of the mean of many independent scores, such as one run on 20,000 bandits."""
    _check_options(level, resamples=1)
    half_width = ndtri(0.5 + level / 2) * standard_error(scores)
    mean = float(np.mean(scores, dtype=np.float64))
    return mean - half_width, mean + half_width


# --- resampling --------------------------------------------------------------------------------


def _counts(rng: np.random.Generator, draws: int, items: int) -> Int[np.ndarray, "draws items"]:
    """How often each of `items` comes up when `items` are drawn with replacement."""
    picks = rng.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * items).reshape(draws, items)


def _seed_counts(
    rng: np.random.Generator, draws: int, shape: tuple[int, ...], over: Over
) -> Int[np.ndarray, "draws seeds _"]:
    """[draws, seeds, 1], or [draws, seeds, tasks] where every task draws its own seeds."""
    seeds, tasks = shape
    if over == "tasks":
        return np.ones((draws, seeds, 1), int)
    if over == "stratified":
        return _counts(rng, draws * tasks, seeds).reshape(draws, tasks, seeds).swapaxes(1, 2)
    return _counts(rng, draws, seeds)[:, :, None]


def _task_counts(
    rng: np.random.Generator, draws: int, shape: tuple[int, ...], over: Over
) -> Int[np.ndarray, "draws 1 tasks"]:
    tasks = shape[1]
    if over in ("seeds", "stratified"):
        return np.ones((draws, 1, tasks), int)
    return _counts(rng, draws, tasks)[:, None, :]


def _nothing_to_draw(seeds: int, tasks: int, over: Over) -> bool:
    return (seeds == 1 or over == "tasks") and (tasks == 1 or over in ("seeds", "stratified"))


def _chunks(resamples: int, weights_each: int) -> Iterator[int]:
    """Sizes that add up to `resamples`, each of at most `CHUNK_WEIGHTS` weights where that is possible."""
    size = max(1, CHUNK_WEIGHTS // weights_each)
    for begin in range(0, resamples, size):
        yield min(size, resamples - begin)


def _percentiles(values: Float[np.ndarray, " resamples"], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# --- what the user can get wrong ---------------------------------------------------------------


def _finite(scores: AnyScores) -> Floats:
    x = np.asarray(scores, dtype=np.float64)
    if x.size == 0:
        raise AdaptaxError("there are no scores to summarise; evaluate at least one seed on one task")
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        raise AdaptaxError(
            f"{bad} of {x.size} scores {'is' if bad == 1 else 'are'} NaN or infinite; "
            "find the run that diverged before summarising it with the others"
        )
    return x


def _matrix(scores: Scores) -> Float[np.ndarray, "seeds tasks"]:
    x = _finite(scores)
    if x.ndim != 2:
        raise AdaptaxError(f"scores must be a matrix [seeds, tasks], but their shape is {x.shape}")
    return x


def _check_options(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise AdaptaxError(f"level must lie between 0 and 1 (0.95 for 95%), but it is {level}")
    if resamples < 1:
        raise AdaptaxError(f"resamples must be at least 1, but it is {resamples}")
