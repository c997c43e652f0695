"""The learners that tabular MDPs are measured against: their posterior, their plans, and what they earn."""

import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

from adaptax.tasks import mdp_policies as policies
from adaptax.tasks.mdp_policies import NO_PRIOR, Posterior, Prior
from adaptax.tasks.mdp_solvers import finite_horizon_values
from adaptax.tasks.tabular import TabularMDP

SMALL = TabularMDP(states=4, actions=2, horizon=5, episodes=6)
PAPER = TabularMDP(episodes=10)
EVERY = [
    policies.Random(),
    policies.Greedy(),
    policies.EpsilonGreedy(),
    policies.PSRL(),
    policies.OPSRL(),
    policies.BEB(),
    policies.UCRL2(),
]


def some(number, seed=0, family=SMALL):
    return policies.draw(family, jax.random.key(seed), number)


def known_after(steps, processes=3, seed=0):
    """Posteriors after random steps in random places."""
    rng = np.random.default_rng(seed)
    known = Posterior.begin(Prior(), processes, SMALL.states, SMALL.actions)
    for _ in range(steps):
        known.observe(
            rng.integers(0, SMALL.states, processes),
            rng.integers(0, SMALL.actions, processes),
            rng.normal(1.0, 1.0, processes),
            rng.integers(0, SMALL.states, processes),
        )
    return known


# --- the posterior -----------------------------------------------------------------------------


def test_posterior_by_hand():
    known = Posterior.begin(Prior(), processes=2, states=3, actions=2)
    state, action = np.array([0, 2]), np.array([1, 0])
    known.observe(state, action, np.array([4.0, -1.0]), np.array([2, 2]))
    known.observe(state, action, np.array([2.0, 0.0]), np.array([1, 2]))
    known.observe(state, action, np.array([0.0, 0.0]), None)  # the last step of an episode
    # Precision 1 + 3; mean (1 + 4 + 2 + 0)/4 and (1 − 1 + 0 + 0)/4.
    assert known.reward_precision[0, 0, 1] == known.reward_precision[1, 2, 0] == 4.0
    assert known.reward_mean[0, 0, 1] == pytest.approx(7 / 4)
    assert known.reward_mean[1, 2, 0] == pytest.approx(0.0)
    np.testing.assert_array_equal(known.counts[0, 0, 1], [1, 2, 2])
    np.testing.assert_array_equal(known.counts[1, 2, 0], [1, 1, 3])
    P, R = known.mean()
    np.testing.assert_allclose(P[0, 0, 1], [1 / 5, 2 / 5, 2 / 5])
    # Nothing else has changed.
    assert known.counts.sum() == 2 * 18 + 4 and R.sum() == pytest.approx(12 - 2 + 7 / 4)


def test_without_a_prior_estimates_are_averages():
    known = Posterior.begin(NO_PRIOR, 1, 2, 1)
    for reward, next_state in ((3.0, 1), (5.0, 1), (4.0, 0)):
        known.observe(np.array([0]), np.array([0]), np.array([reward]), np.array([next_state]))
    P, R = known.mean()
    np.testing.assert_allclose(R[0, :, 0], [4.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(P[0, :, 0], [[1 / 3, 2 / 3], [1 / 2, 1 / 2]], atol=1e-3)


def test_samples_have_the_posteriors_moments():
    n = 20_000
    known = Posterior.begin(Prior(), n, 3, 1)
    here = np.zeros(n, np.int64)
    for reward in (2.0, 3.0, 4.0):
        known.observe(here, here, np.full(n, reward), here)
    P, R = known.sample(np.random.default_rng(0))
    np.testing.assert_allclose(P.sum(axis=3), 1.0)
    # Dirichlet(4, 1, 1): means 4/6 and 1/6, variance of the first 4·2/(36·7). Normal: mean 10/4, variance 1/4.
    np.testing.assert_allclose(P[:, 0, 0].mean(axis=0), [4 / 6, 1 / 6, 1 / 6], atol=0.006)
    assert P[:, 0, 0, 0].var() == pytest.approx(8 / 252, rel=0.05)
    assert R[:, 0, 0].mean() == pytest.approx(2.5, abs=0.015) and R[:, 0, 0].var() == pytest.approx(
        0.25, rel=0.05
    )
    assert R[:, 1, 0].mean() == pytest.approx(1.0, abs=0.03) and R[:, 1, 0].var() == pytest.approx(
        1.0, rel=0.05
    )


# --- planning ----------------------------------------------------------------------------------


def test_plans_are_those_of_value_iteration():
    P, R = some(6)
    q = policies.plan(P, R, SMALL.horizon)
    exact = jax.vmap(lambda p, r: finite_horizon_values(p, r, SMALL.horizon))(
        P.astype(np.float32), R.astype(np.float32)
    )
    np.testing.assert_allclose(q, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "radius, best_distribution",
    [
        (0.0, [0.2, 0.5, 0.3]),
        (0.2, [0.1, 0.5, 0.4]),
        (0.6, [0.0, 0.4, 0.6]),  # the worst state loses all it has, the next one the rest
        (5.0, [0.0, 0.0, 1.0]),
    ],
)
def test_the_most_promising_transitions_by_hand(radius, best_distribution):
    row, values, radii = np.array([0.2, 0.5, 0.3]), np.array([[-1.0, 2.0, 7.0]]), np.full((1, 3, 1), radius)
    # The order in which states are numbered is of no account.
    for order in map(list, itertools.permutations(range(3))):
        P = np.tile(row[order], (1, 3, 1, 1))
        found = policies.most_promising(P, values[:, order], radii)
        np.testing.assert_allclose(found, np.dot(best_distribution, values[0]))


def test_the_most_promising_transitions_solve_their_linear_programme():
    """max p·v over p, d with p ≥ 0, Σp = 1, |p − P| ≤ d, Σd ≤ radius."""
    rng = np.random.default_rng(1)
    P, _ = some(3, seed=2)
    values, radius = rng.normal(size=(3, 4)), rng.uniform(0.0, 1.5, (3, 4, 2))
    found = policies.most_promising(P, values, radius)
    one = np.eye(4)
    for b, s, a in itertools.product(range(3), range(4), range(2)):
        row = P[b, s, a]
        solved = linprog(
            np.concatenate([-values[b], np.zeros(4)]),
            A_ub=np.vstack([np.hstack([one, -one]), np.hstack([-one, -one]), [0] * 4 + [1] * 4]),
            b_ub=np.concatenate([row, -row, [radius[b, s, a]]]),
            A_eq=[[1] * 4 + [0] * 4],
            b_eq=[1.0],
        )
        assert found[b, s, a] == pytest.approx(-solved.fun, abs=1e-7)


def test_optimism_never_plans_for_less_than_the_mean_process():
    rng = np.random.default_rng(0)
    for steps in (0, 5, 60):
        known = known_after(steps)
        mean = policies.plan(*known.mean(), SMALL.horizon)
        for optimist in (policies.BEB(bonus=0.3), policies.UCRL2(scaling=0.05)):
            assert (optimist.plan(known, 1, SMALL.horizon, rng) > mean).all()
        for neutral in (policies.BEB(bonus=0.0), policies.UCRL2(scaling=0.0)):
            np.testing.assert_allclose(neutral.plan(known, 1, SMALL.horizon, rng), mean, atol=1e-12)
        # The same draws, and more of them.
        plans = [
            policies.OPSRL(samples=n).plan(known, 1, SMALL.horizon, np.random.default_rng(3))
            for n in (1, 2, 9)
        ]
        assert (plans[0] <= plans[1]).all() and (plans[1] <= plans[2]).all() and (plans[0] < plans[2]).any()
        alone = policies.PSRL().plan(known, 1, SMALL.horizon, np.random.default_rng(3))
        np.testing.assert_array_equal(alone, plans[0])


def test_bonuses_of_the_last_step_by_hand():
    rng = np.random.default_rng(0)
    known = Posterior.begin(Prior(), 1, 2, 1)
    here = np.array([0])
    for _ in range(3):
        known.observe(here, here, np.array([1.0]), here)
    known.observe(here, here, np.array([1.0]), None)
    # Nothing follows the last step: Q = R + bonus. R is 1; four rewards and three transitions were seen in state 0.
    last = policies.BEB(bonus=6.0).plan(known, 1, 3, rng)[0, -1, :, 0]
    np.testing.assert_allclose(last, [1 + 6 / (1 + 5), 1 + 6 / (1 + 2)])
    last = policies.UCRL2(scaling=0.5).plan(known, 4, 3, rng)[0, -1, :, 0]
    width = 0.5 * np.sqrt(4 * np.log(2 * 2 * 1 * 5 / 0.05))
    np.testing.assert_allclose(last, [1 + width / np.sqrt(4), 1 + width])


# --- what they earn ----------------------------------------------------------------------------


def first_index(policy):
    """The same policy, with ties broken by the lowest action."""
    return type("FirstIndex", (type(policy),), {"act": lambda self, q, rng: q.argmax(axis=1)})(policy.prior)


@pytest.mark.parametrize(
    ("policy", "figure", "its_error"),
    [
        # Simulated anew, by other code, for 2000 processes.
        (policies.PSRL(Prior(0.0)), 137.7, 0.6),
        (policies.PSRL(), 134.6, 0.6),
        (first_index(policies.Greedy()), 148.9, 0.6),
        (first_index(policies.Greedy(Prior(0.0))), 129.0, 0.6),
        # Duan et al. 2016, table 1b.
        (policies.Random(), 100.1, 0.8),
        (policies.PSRL(Prior(0.0)), 138.1, 0.8),
        (policies.Greedy(NO_PRIOR), 134.8, 0.9),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, policies.Policy) else str(x),
)
def test_policies_earn_what_is_published(policy, figure, its_error):
    P, R = some(400, seed=5, family=PAPER)
    total = policies.play(policy, P, R, PAPER.horizon, PAPER.episodes, jax.random.key(6)).sum(axis=1)
    assert abs(total.mean() - figure) < 3 * np.hypot(total.std() / np.sqrt(len(total)), its_error)


def test_all_learn_and_none_beats_the_known_process():
    P, R = some(200, seed=7, family=PAPER)
    best = policies.plan(P, R, PAPER.horizon)[:, 0, 0].max(axis=1)
    returns = {type(p).__name__: policies.play(p, P, R, PAPER.horizon, 10, jax.random.key(8)) for p in EVERY}
    random = returns.pop("Random")
    for name, earned in returns.items():
        more = (earned - random).sum(axis=1)
        assert more.mean() > 5 * more.std() / np.sqrt(len(more)), name
        later = earned[:, 5:].sum(axis=1) - earned[:, :5].sum(axis=1)
        assert later.mean() > 5 * later.std() / np.sqrt(len(later)), name
        regret = 10 * best - earned.sum(axis=1)
        assert regret.mean() > 5 * regret.std() / np.sqrt(len(regret)), name


def test_who_knows_the_process_earns_its_value():
    """Also a check of the simulation: rewards, transitions and the plan's time index."""
    P, R = some(1500, seed=9)

    class Told(policies.Greedy):
        def plan(self, known, episode, horizon, rng):
            return policies.plan(P, R, horizon)

    returns = policies.play(Told(), P, R, SMALL.horizon, 6, jax.random.key(10))
    regret = policies.plan(P, R, SMALL.horizon)[:, 0, 0].max(axis=1)[:, None] - returns
    assert abs(regret.mean()) < 4 * regret.std() / np.sqrt(regret.size)
    assert regret.var() > SMALL.horizon  # the noise of five rewards, and that of the transitions


def test_epsilon_is_the_share_of_random_actions():
    rng = np.random.default_rng(0)
    q = np.tile([0.0, 1.0, 0.0, 0.0], (20_000, 1))
    actions = policies.EpsilonGreedy(epsilon=0.4).act(q, rng)
    np.testing.assert_allclose(np.bincount(actions) / len(actions), [0.1, 0.7, 0.1, 0.1], atol=0.01)
    assert (policies.Greedy().act(q, rng) == 1).all()
    ties = np.bincount(policies.Greedy().act(q[:, [0, 2, 3]], rng))
    np.testing.assert_allclose(ties / 20_000, 1 / 3, atol=0.015)


def test_all_but_an_episodes_last_transition_is_seen():
    seen = []

    class Recorder(policies.Random):
        def plan(self, known, episode, horizon, rng):
            seen.append((episode, known.reward_precision.sum(), known.counts.sum(), known.counts.min()))
            return super().plan(known, episode, horizon, rng)

    P, R = some(3)
    policies.play(Recorder(), P, R, 5, 4, jax.random.key(12))
    pairs = 3 * 4 * 2
    for episode, rewards, transitions, fewest in seen:
        assert rewards - pairs == 3 * 5 * (episode - 1)
        assert transitions - 4 * pairs == 3 * 4 * (episode - 1) and fewest >= 1
    assert [episode for episode, *_ in seen] == [1, 2, 3, 4]


def test_play_follows_its_key():
    P, R = some(20)
    runs = [policies.play(policies.PSRL(), P, R, 5, 3, jax.random.key(k)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).all()


def test_tuning_finds_the_better_candidate_on_other_processes():
    key = jax.random.key(11)
    explorers = [policies.EpsilonGreedy(epsilon=ε) for ε in (1.0, 0.05, 0.6)]
    assert policies.tune(explorers, SMALL, key, 200) == policies.EpsilonGreedy(epsilon=0.05)
    chosen = policies.reference_policies(TabularMDP(2, 2, 2, 2), key, tuning_processes=5, prior=Prior(0.0))
    assert set(chosen) == {"random", "greedy", "psrl", "epsilon-greedy", "beb", "ucrl2", "opsrl"}
    assert all(policy.prior == Prior(0.0) for name, policy in chosen.items() if name != "random")
