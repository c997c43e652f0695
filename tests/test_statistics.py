"""Statistics against closed forms, scipy, and bootstrap distributions that are enumerated by hand."""

import functools
import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from adaptax import statistics
from adaptax.errors import AdaptaxError
from adaptax.statistics import interval, iqm, paired_interval, probability_of_improvement

OVERS = ["both", "seeds", "tasks", "stratified"]
scores = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-100, 100))


# --- aggregates --------------------------------------------------------------------------------


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(np.array([7.0, 0, 1, 2, 3, 4, 5, 6])) == 3.5  # mean of 2, 3, 4, 5
    assert iqm(np.array([-1e9, 1.0, 2.0, 1e9])) == 1.5
    assert iqm(np.array([0.0, 1, 2, 3, 100])) == 2.0  # floor(5/4) = 1 left out at each end
    assert iqm(np.array([0.0, 1, 5])) == 2.0  # floor(3/4) = 0: nothing is left out
    assert iqm(np.array([[4, 1], [2, 3]])) == 2.5  # integers, pooled over both axes


@given(scores, st.sampled_from([None, 0, 1]))
def test_iqm_equals_scipys_trimmed_mean(x, axis):
    np.testing.assert_allclose(iqm(x, axis), scipy.stats.trim_mean(x, 0.25, axis=axis), atol=1e-12)


@given(scores, st.randoms(use_true_random=False), st.floats(-50, 50), st.floats(-10, 10))
def test_iqm_ignores_order_and_follows_shift_and_scale(x, random, shift, scale):
    shuffled = x.ravel().tolist()
    random.shuffle(shuffled)
    np.testing.assert_allclose(iqm(scale * np.array(shuffled) + shift), scale * iqm(x) + shift, atol=1e-9)


# --- the bootstrap -----------------------------------------------------------------------------


def _enumerate(x, over):
    """Every equally probable resample of a small matrix [S, M], from the definition of `over`."""
    seeds, tasks = x.shape
    rows = list(itertools.product(range(seeds), repeat=seeds))
    columns = list(itertools.product(range(tasks), repeat=tasks))
    if over == "both":
        return [x[np.ix_(r, c)] for r in rows for c in columns]
    if over == "seeds":
        return [x[list(r)] for r in rows]
    if over == "tasks":
        return [x[:, list(c)] for c in columns]
    return [
        np.stack([x[list(r), m] for m, r in enumerate(choice)], axis=1)
        for choice in itertools.product(rows, repeat=tasks)
    ]


def _assert_quantiles(ends, exact, level, slack=0.015):
    """Both ends lie between the exact quantiles a little below and a little above the nominal ones."""
    exact = np.repeat(exact, 1000)  # so that quantiles fall on values, not between two of them
    for end, p in zip(ends, [(1 - level) / 2, (1 + level) / 2], strict=True):
        below, above = np.quantile(exact, [max(0, p - slack), min(1, p + slack)])
        assert below - 1e-12 <= end <= above + 1e-12


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_interval_agrees_with_the_enumerated_bootstrap(over, statistic):
    x = np.random.default_rng(3).exponential(size=(3, 3))
    aggregate = np.mean if statistic == "mean" else lambda r: scipy.stats.trim_mean(r, 0.25, axis=None)
    exact = [aggregate(resample) for resample in _enumerate(x, over)]
    ends = interval(x, statistic, level=0.8, resamples=20_000, over=over)
    _assert_quantiles(ends, exact, 0.8)


def test_interval_agrees_with_scipys_bootstrap():
    x = np.random.default_rng(0).lognormal(size=(1, 60))
    trim_mean = functools.partial(scipy.stats.trim_mean, proportiontocut=0.25)
    for statistic, aggregate in [("mean", np.mean), ("iqm", trim_mean)]:
        theirs = scipy.stats.bootstrap(
            x, aggregate, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        ours = interval(x, statistic, resamples=20_000)
        np.testing.assert_allclose(ours, theirs, atol=0.02 * (theirs.high - theirs.low))


@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_a_95_percent_interval_over_tasks_holds_the_truth_95_times_in_100(statistic):
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        low, high = interval(rng.normal(size=(1, 60)), statistic, resamples=400, seed=trial)
        hits += low <= 0 <= high
    assert 0.91 <= hits / 400 <= 0.975  # the standard error of this fraction is 0.011


def test_only_drawing_seeds_and_tasks_covers_what_both_bring():
    """What a run does on all tasks, and a task to all runs, does not average out within the matrix."""
    rng, trials = np.random.default_rng(1), 200
    hits = dict.fromkeys(OVERS, 0)
    for trial in range(trials):
        x = rng.normal(size=(20, 1)) + rng.normal(size=(1, 20)) + rng.normal(size=(20, 20))
        for over in OVERS:
            low, high = interval(x, "mean", resamples=300, seed=trial, over=over)
            hits[over] += low <= 0 <= high
    assert hits["both"] / trials > 0.89
    assert hits["seeds"] / trials < 0.88 and hits["tasks"] / trials < 0.88
    assert hits["stratified"] / trials < 0.5


@given(scores, st.floats(-50, 50), st.floats(0.1, 10), st.sampled_from(OVERS))
def test_interval_follows_shift_scale_and_sign(x, shift, scale, over):
    low, high = interval(x, resamples=50, over=over)
    moved = interval(scale * x + shift, resamples=50, over=over)
    np.testing.assert_allclose(moved, [scale * low + shift, scale * high + shift], atol=1e-9)
    np.testing.assert_allclose(interval(-x, resamples=50, over=over), [-high, -low], atol=1e-9)


def test_one_wild_score_does_not_reach_the_iqm_interval():
    x = np.arange(40.0)[None]
    wild = np.where(x == 39, 1e15, x)
    np.testing.assert_allclose(interval(wild), interval(x), rtol=1e-9)


def test_intervals_repeat_with_their_seed_and_narrow_with_the_level():
    x = np.random.default_rng(0).normal(size=(5, 30))
    assert interval(x, seed=1) == interval(x, seed=1) != interval(x, seed=2)
    (low90, high90), (low99, high99) = interval(x, level=0.9), interval(x, level=0.99)
    assert low99 < low90 < iqm(x) < high90 < high99


def test_twenty_thousand_tasks_fit_in_little_memory():
    x = np.random.default_rng(0).normal(size=(1, 20_000))
    tracemalloc.start()
    low, high = interval(x, "mean")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 64e6
    np.testing.assert_allclose([low, high], statistics.normal_interval(x), atol=1e-3)


@pytest.mark.parametrize("draws_at_once", [1, 7, 1000])
def test_any_chunking_gives_the_same_distribution(monkeypatch, draws_at_once):
    x = np.random.default_rng(3).exponential(size=(3, 3))
    monkeypatch.setattr(statistics, "CHUNK_WEIGHTS", draws_at_once * x.size)
    exact = [resample.mean() for resample in _enumerate(x, "both")]
    _assert_quantiles(interval(x, "mean", level=0.8, resamples=8_000), exact, 0.8, slack=0.02)


@pytest.mark.parametrize("over", OVERS)
def test_where_nothing_can_be_drawn_there_is_no_interval(over):
    assert np.isnan(interval(np.ones((1, 1)), over=over)).all()
    assert np.isnan(interval(np.ones((1, 4)), over=over)).all() == (over in ("seeds", "stratified"))
    assert np.isnan(interval(np.ones((4, 1)), over=over)).all() == (over == "tasks")
    np.testing.assert_allclose(interval(np.full((3, 4), 0.1), over=over), [0.1, 0.1])


# --- comparisons -------------------------------------------------------------------------------


def test_pairing_cancels_what_makes_a_task_hard():
    rng = np.random.default_rng(0)
    before = 100 * rng.normal(size=(5, 40))
    after = before + 1 + 0.1 * rng.normal(size=(5, 40))
    low, high = paired_interval(after, before)
    assert 0.9 < low < 1 < high < 1.1
    assert paired_interval(before, before) == (0.0, 0.0)
    of_differences = interval(after - before, "mean", over="tasks")
    assert paired_interval(after, before, "mean", over="tasks") == of_differences


def test_probability_of_improvement_is_mann_whitneys_u():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, size=(6, 9)), rng.integers(0, 4, size=(5, 9))  # many ties
    u = [scipy.stats.mannwhitneyu(x[:, m], y[:, m]).statistic / 30 for m in range(9)]
    np.testing.assert_allclose(probability_of_improvement(x, y).value, np.mean(u))


def test_probability_of_improvement_in_closed_form():
    win_and_tie = probability_of_improvement(np.array([[1.0, 2.0]]), np.array([[0.0, 2.0]]))
    assert win_and_tie.value == 0.75  # (1 + ½) / 2
    x = np.random.default_rng(0).normal(size=(4, 10))
    assert probability_of_improvement(x, x).value == 0.5
    np.testing.assert_allclose(probability_of_improvement(x + 100, x), (1, 1, 1))


@given(scores, st.data())
def test_probability_of_improvement_is_complementary_and_follows_any_increasing_map(x, data):
    y = data.draw(arrays(np.float64, (3, x.shape[1]), elements=st.floats(-100, 100)))
    forward = probability_of_improvement(x, y, resamples=1).value
    np.testing.assert_allclose(forward + probability_of_improvement(y, x, resamples=1).value, 1.0)
    np.testing.assert_allclose(probability_of_improvement(2 * x, 2 * y, resamples=1).value, forward)


@pytest.mark.parametrize("over", OVERS)
def test_its_interval_agrees_with_the_enumerated_bootstrap(over):
    rng = np.random.default_rng(5)
    x, y = rng.normal(0.5, 1, size=(3, 2)), rng.normal(size=(2, 2))
    rows_x, rows_y, columns = (list(itertools.product(range(n), repeat=n)) for n in (3, 2, 2))
    still_x, still_y, still_columns = [(0, 1, 2)], [(0, 1)], [(0, 1)]
    if over == "stratified":
        pairs = itertools.product(_enumerate(x, over), _enumerate(y, over))
    else:
        pairs = (
            (x[np.ix_(r, c)], y[np.ix_(s, c)])
            for r in (still_x if over == "tasks" else rows_x)
            for s in (still_y if over == "tasks" else rows_y)
            for c in (still_columns if over == "seeds" else columns)
        )
    exact = [np.heaviside(a[:, None] - b[None], 0.5).mean() for a, b in pairs]
    estimate = probability_of_improvement(x, y, level=0.7, resamples=20_000, over=over)
    _assert_quantiles((estimate.low, estimate.high), exact, 0.7)


# --- means of many independent scores ----------------------------------------------------------


def test_standard_error_and_normal_interval_in_closed_form():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert statistics.standard_error(x) == pytest.approx(np.sqrt(5 / 3) / 2) == scipy.stats.sem(x)
    expected = scipy.stats.norm.interval(0.9, loc=2.5, scale=scipy.stats.sem(x))
    np.testing.assert_allclose(statistics.normal_interval(x, 0.9), expected)
    assert np.isnan(statistics.standard_error(np.array([3.0])))


# --- errors ------------------------------------------------------------------------------------


def test_bad_scores_are_counted_and_refused():
    x = np.ones((2, 3))
    x[0, 0], x[1, 2] = np.nan, np.inf
    for refuse in (
        iqm,
        interval,
        statistics.standard_error,
        statistics.normal_interval,
        lambda s: paired_interval(np.ones((2, 3)), s),
        lambda s: probability_of_improvement(np.ones((2, 3)), s),
    ):
        with pytest.raises(AdaptaxError, match="2 of 6 scores are NaN or infinite"):
            refuse(x)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: iqm(np.empty(0)), "there are no scores"),
        (lambda: interval(np.ones((2, 2)), level=95.0), "level must lie between 0 and 1"),
        (lambda: interval(np.ones((2, 2)), resamples=0), "resamples must be at least 1"),
        (lambda: paired_interval(np.ones((2, 2)), np.ones((2, 3))), "same seeds and tasks"),
        (lambda: probability_of_improvement(np.ones((2, 2)), np.ones((2, 3))), "same tasks"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(AdaptaxError, match=sentence):
        call()
