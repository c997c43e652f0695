"""Bandits, their reference policies, Gittins indices and the exact Bayes-optimal value."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptax.errors import AdaptaxError
from adaptax.tasks import bandit_policies as policies
from adaptax.tasks.bandit_planning import bayes_optimal_value, gittins_indices
from adaptax.tasks.bandits import BernoulliBandit, CorrelatedBandit, GaussianBandit, InformativeBandit

FAMILIES = [BernoulliBandit(3, 4), GaussianBandit(3, 4, mean_std=2.0, noise_std=0.5)]


def draw(family, split, n, seed=0):
    return np.asarray(jax.vmap(lambda k: family.sample(k, split))(jax.random.split(jax.random.key(seed), n)))


def totals(policy, arms, pulls, bandits, seed=0):
    """Total reward in each of many bandits p_i ~ U[0, 1], and the standard error of their mean."""
    means = draw(BernoulliBandit(arms, pulls), "test", bandits, seed)
    total = policies.play(policy, means, pulls, jax.random.key(seed + 1)).sum(axis=1)
    return total, total.std() / np.sqrt(bandits)


# --- families ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.spec.name)
def test_an_episode_is_one_pull_that_terminates(family):
    spec = family.spec
    assert (spec.episode_steps, spec.episodes, spec.action.n, spec.features) == (1, 4, 3, 3)
    task = family.sample(jax.random.key(0), "train")
    state, obs = family.reset(jax.random.key(1), task)
    _, outcome = family.step(jax.random.key(2), state, jnp.int32(1), task)
    assert obs.shape == outcome.obs.shape == spec.observation and obs == outcome.obs == 0.0
    assert bool(outcome.terminated) and not bool(outcome.truncated)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.spec.name)
def test_rewards_have_the_arms_means(family):
    task = family.sample(jax.random.key(3), "train")
    keys = jax.random.split(jax.random.key(4), 20_000)
    for arm in range(3):
        rewards = np.asarray(
            jax.vmap(lambda k, a=arm: family.step(k, None, jnp.int32(a), task)[1].reward)(keys)
        )
        assert abs(rewards.mean() - task[arm]) < 4 * rewards.std() / np.sqrt(len(rewards))
        if isinstance(family, GaussianBandit):
            assert rewards.std() == pytest.approx(0.5, rel=0.02)
        else:
            assert set(np.unique(rewards)) <= {0.0, 1.0}
    assert family.optimal(task) == task.max()
    np.testing.assert_array_equal(family.features(task), task)


def test_priors_are_the_stated_ones():
    uniform, close = (draw(BernoulliBandit(4), split, 5000) for split in ("train", "ood"))
    assert uniform.min() >= 0.0 and uniform.max() <= 1.0
    assert uniform.mean() == pytest.approx(0.5, abs=0.01) and uniform.std() == pytest.approx(
        12**-0.5, abs=0.01
    )
    assert close.min() >= 0.4 and close.max() <= 0.6
    family = GaussianBandit(4, mean_std=2.0)
    normal, shifted = (draw(family, split, 5000) for split in ("test", "ood"))
    assert normal.mean() == pytest.approx(0.0, abs=0.06) and normal.std() == pytest.approx(2.0, abs=0.06)
    assert shifted.mean() == pytest.approx(6.0, abs=0.06) and shifted.std() == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("family", [BernoulliBandit, GaussianBandit])
def test_a_bandit_without_arms_is_refused(family):
    with pytest.raises(AdaptaxError, match="at least one arm"):
        family(arms=0)


def test_the_second_of_two_correlated_arms_pays_where_the_first_does_not():
    family = CorrelatedBandit()
    assert (family.spec.episodes, family.spec.action.n, family.spec.shared_tasks) == (100, 2, False)
    p = draw(family, "train", 5000)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
    assert p[:, 0].mean() == pytest.approx(0.5, abs=0.02) and p[:, 0].std() == pytest.approx(
        12**-0.5, abs=0.01
    )
    rewards = jax.vmap(lambda k: family.step(k, None, jnp.int32(1), jnp.array([0.2, 0.8]))[1].reward)(
        jax.random.split(jax.random.key(1), 20_000)
    )
    assert rewards.mean() == pytest.approx(0.8, abs=0.012) and set(np.unique(rewards)) == {0.0, 1.0}


@pytest.mark.parametrize(
    "kind, values", [("easy", {0.1, 0.9}), ("medium", {0.25, 0.75}), ("hard", {0.4, 0.6})]
)
def test_a_kind_of_correlated_bandit_has_two_tasks(kind, values):
    family = CorrelatedBandit(kind)
    assert family.spec.shared_tasks
    p = draw(family, "test", 400)
    assert {round(float(x), 6) for x in p[:, 0]} == values
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
    assert np.mean(p[:, 0] > 0.5) == pytest.approx(0.5, abs=0.1)
    assert float(family.optimal(jnp.asarray(p[0]))) == pytest.approx(max(values))


def test_correlated_arms_are_independent_out_of_distribution():
    p = draw(CorrelatedBandit("easy"), "ood", 5000)
    assert p.min() >= 0.5 and p.max() <= 1.0 and abs(np.corrcoef(p.T)[0, 1]) < 0.05


def test_the_informative_arm_is_worth_its_price():
    family = InformativeBandit()
    tasks = draw(family, "train", 500)
    targets = tasks[:, :10].argmax(axis=1)
    assert set(targets) == set(range(10)) and family.spec.shared_tasks and not family.spec.ood
    np.testing.assert_allclose(
        tasks[3], [*np.where(np.arange(10) == targets[3], 5.0, 1.0), (targets[3] + 1) / 10]
    )

    def pull(task, arm):
        return float(family.step(jax.random.key(0), None, jnp.int32(arm), task)[1].reward)

    asked, searched = [], []
    for target in range(10):
        task = jnp.asarray(tasks[targets == target][0])
        told = pull(task, 10)
        asked.append(told + 4 * pull(task, round(10 * told) - 1))
        search = [pull(task, arm) for arm in range(5)]
        found = search.index(5.0) + 1 if 5.0 in search else 5
        searched.append(sum(search[:found]) + 5.0 * (5 - found))
    assert np.mean(asked) == pytest.approx(20.55) and np.mean(searched) == pytest.approx(11.0)


# --- the Bayes-optimal value -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "pulls", "value"),
    [
        (2, 1, 1 / 2),
        # Pull: 1/2. It paid: again at 2/3. It did not: the other arm at 1/2.
        (2, 2, 1 / 2 + (1 / 2) * (2 / 3) + (1 / 2) * (1 / 2)),
        (1, 37, 37 / 2),
        (5, 10, 6.660),
        (10, 10, 6.714),
        (50, 10, 6.714),
    ],
)
def test_bayes_optimal_value(arms, pulls, value):
    assert bayes_optimal_value(arms, pulls) == pytest.approx(value, abs=5e-4 if pulls == 10 else 1e-12)


@functools.cache
def value_by_plain_recursion(counts, pulls):
    """The same without canonical beliefs: every arm is listed, in its place."""
    if pulls == 0:
        return 0.0
    options = []
    for i, (s, f) in enumerate(counts):
        won, lost = ((*counts[:i], arm, *counts[i + 1 :]) for arm in ((s + 1, f), (s, f + 1)))
        p = (s + 1) / (s + f + 2)
        value_won, value_lost = (value_by_plain_recursion(after, pulls - 1) for after in (won, lost))
        options.append(p * (1 + value_won) + (1 - p) * value_lost)
    return max(options)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6))
def test_bayes_optimal_value_equals_plain_recursion_and_grows(arms, pulls):
    value = bayes_optimal_value(arms, pulls)
    assert value == pytest.approx(value_by_plain_recursion(((0, 0),) * arms, pulls), abs=1e-12)
    # One more pull is worth at least 1/2 and at most 1; one more arm never hurts.
    assert 0.5 - 1e-12 <= bayes_optimal_value(arms, pulls + 1) - value <= 1.0
    assert bayes_optimal_value(arms + 1, pulls) >= value - 1e-12


def test_too_large_a_programme_is_refused(monkeypatch):
    monkeypatch.setattr("adaptax.tasks.bandit_planning.MAX_BELIEFS", 1000)
    with pytest.raises(AdaptaxError, match=r"5 arms and 12 pulls have over 1,000 beliefs"):
        bayes_optimal_value(5, 12)


# --- Gittins indices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("discount", "successes", "failures", "index"),
    # Gittins, Glazebrook & Weber 2011, tables for the Bernoulli process.
    [
        (0.9, 0, 0, 0.7029),
        (0.9, 1, 1, 0.6346),
        (0.9, 2, 2, 0.6010),
        (0.9, 9, 1, 0.8695),
        (0.99, 0, 0, 0.8699),
    ],
)
def test_gittins_indices_equal_the_published_table(discount, successes, failures, index):
    assert gittins_indices(discount, 11)[successes, failures] == pytest.approx(index, abs=1e-4)


def test_gittins_index_laws():
    table, patient = gittins_indices(0.9, 11), gittins_indices(0.99, 11)
    s, f = np.nonzero(np.add.outer(np.arange(11), np.arange(11)) < 10)
    assert (table[s + 1, f] > table[s, f]).all() and (table[s, f + 1] < table[s, f]).all()
    assert (table[s, f] > (s + 1) / (s + f + 2)).all()
    assert (patient[s, f] > table[s, f]).all()
    # Nothing to hope for: γ → 0 leaves the posterior mean.
    np.testing.assert_allclose(gittins_indices(1e-9, 11)[s, f], (s + 1) / (s + f + 2), atol=1e-6)


# --- policies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "arms", "pulls", "published", "its_error"),
    # Re-simulated figures of the RL² paper's baselines (4000 tasks), and their standard errors.
    [
        (policies.Random(), 5, 10, 5.0, 0.03),
        (policies.Greedy(), 5, 10, 6.6, 0.03),
        (policies.Greedy(), 10, 10, 6.7, 0.03),
        (policies.Thompson(), 5, 10, 5.8, 0.03),
        (policies.Thompson(), 50, 10, 5.1, 0.03),
        (policies.Random(), 5, 100, 50.1, 0.3),
        (policies.Greedy(), 5, 100, 75.9, 0.3),
        (policies.Thompson(), 5, 100, 74.7, 0.3),
        (policies.UCB1(0.2), 5, 100, 78.3, 0.3),
        (policies.Gittins(0.99, 100), 5, 100, 78.3, 0.5),
    ],
    ids=str,
)
def test_policies_earn_what_is_published(policy, arms, pulls, published, its_error):
    total, error = totals(policy, arms, pulls, bandits=4000)
    rounding = 0.05
    assert abs(total.mean() - published) < 4 * np.hypot(error, its_error) + rounding


@pytest.mark.parametrize(
    "policy",
    [
        policies.Random(),
        policies.Greedy(),
        policies.EpsilonGreedy(0.1),
        policies.Thompson(),
        policies.OptimisticThompson(5),
        policies.UCB1(0.1),
        policies.Gittins(0.9, 10),
    ],
    ids=str,
)
def test_no_policy_beats_the_bayes_optimal_one(policy):
    total, error = totals(policy, 5, 10, bandits=10_000)
    assert total.mean() < bayes_optimal_value(5, 10) + 4 * error


@pytest.mark.parametrize("policy", [policies.Greedy(), policies.Gittins(0.9, 2)], ids=str)
def test_with_two_arms_and_pulls_the_best_policies_earn_the_exact_value(policy):
    total, error = totals(policy, 2, 2, bandits=20_000)
    assert abs(total.mean() - 13 / 12) < 4 * error


def test_index_of_each_policy_by_hand():
    rng = np.random.default_rng(0)
    successes, failures = np.array([[0, 2, 1]]), np.array([[0, 1, 3]])
    mean = np.array([[1 / 2, 3 / 5, 2 / 6]])
    at = (successes, failures, 5, rng)
    np.testing.assert_allclose(policies.Greedy().index(*at), mean)
    np.testing.assert_allclose(policies.EpsilonGreedy(0.0).index(*at), mean)
    np.testing.assert_allclose(policies.EpsilonGreedy(1.0).index(*at), 0.0)
    bonus = 0.3 * np.sqrt(2 * np.log(5) / np.array([[2, 5, 6]]))
    np.testing.assert_allclose(policies.UCB1(0.3).index(*at), mean + bonus)
    np.testing.assert_allclose(policies.Gittins(0.9, 10).index(*at)[0, 0], 0.7029, atol=1e-4)


def test_thompson_draws_from_the_posterior_and_optimism_nears_its_mode():
    n = 20_000
    successes, failures = np.full((n, 1), 3), np.full((n, 1), 1)
    at = (successes, failures, 5, np.random.default_rng(0))
    draws = policies.Thompson().index(*at)
    a, b = 4, 2
    assert draws.mean() == pytest.approx(a / (a + b), abs=0.006)
    assert draws.var() == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), rel=0.05)
    assert np.abs(policies.OptimisticThompson(50).index(*at) - 3 / 4).mean() < 0.03
    assert np.abs(policies.OptimisticThompson(1).index(*at) - 3 / 4).mean() > 0.1


def test_ties_are_broken_at_random_and_play_follows_its_key():
    means = np.tile([0.0, 0.0, 1.0], (9000, 1))
    first = policies.play(policies.Greedy(), means, 3, jax.random.key(0))
    assert first[:, 0].mean() == pytest.approx(1 / 3, abs=0.02)  # any of three equal arms
    # The paying arm is found with probability 1/3, then 1/2 of the rest, then surely: and never left.
    np.testing.assert_allclose(first.mean(axis=0), [1 / 3, 2 / 3, 1.0], atol=0.02)
    again, other = (policies.play(policies.Greedy(), means, 3, jax.random.key(k)) for k in (0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_play_counts_pulls_from_one_and_tallies_what_was_paid():
    seen = []

    class Recorder(policies.Policy):
        def index(self, successes, failures, pull, rng):
            seen.append((pull, successes.copy(), failures.copy()))
            return np.tile([0.0, 1.0], (len(successes), 1))

    rewards = policies.play(Recorder(), np.full((6, 2), 0.5), 5, jax.random.key(2))
    assert [pull for pull, *_ in seen] == [1, 2, 3, 4, 5]
    for pull, successes, failures in seen:
        np.testing.assert_array_equal(successes[:, 1], rewards[:, : pull - 1].sum(axis=1))
        np.testing.assert_array_equal(successes[:, 1] + failures[:, 1], pull - 1)
        assert not successes[:, 0].any() and not failures[:, 0].any()


def test_tuning_finds_the_better_candidate_on_other_bandits():
    key = jax.random.key(5)
    explorers = [policies.EpsilonGreedy(ε) for ε in (1.0, 0.0, 0.7)]
    assert policies.tune(explorers, 5, 10, key, 500) == policies.EpsilonGreedy(0.0)
    confident = [policies.UCB1(c) for c in (0.0, 0.2, 3.0)]
    assert policies.tune(confident, 5, 100, key, 500) == policies.UCB1(0.2)
    chosen = policies.reference_policies(2, 3, key, tuning_bandits=50)
    assert set(chosen) == {
        "random", "greedy", "epsilon-greedy", "thompson", "ucb1", "optimistic-thompson", "gittins",
    }  # fmt: skip
