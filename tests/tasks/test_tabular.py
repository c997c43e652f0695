"""Random finite MDPs, their exact solutions, and the tabular learners checked against them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptax.errors import AdaptaxError
from adaptax.tasks import mdp_solvers as mdp
from adaptax.tasks.base import Split
from adaptax.tasks.tabular import TabularMDP

SMALL = TabularMDP(states=4, actions=2, horizon=5)
seeds = st.integers(0, 10_000)
discounts = st.sampled_from([0.0, 0.5, 0.9, 0.99])


def process(seed: int, split: Split = "train"):
    task = SMALL.sample(jax.random.key(seed), split)
    return task.transition, task.reward


@jax.jit
def batch(keys):
    family = TabularMDP()
    tasks = jax.vmap(lambda k: family.sample(k, "test"))(keys)
    uniform = jnp.zeros((family.states, family.actions))
    random = jax.vmap(lambda t: mdp.expected_return(t.transition, t.reward, uniform, family.horizon))
    return jax.vmap(family.optimal)(tasks), random(tasks)


# --- the family --------------------------------------------------------------------------------


def test_ceiling_and_random_return_of_the_papers_prior():
    optimal, random = (np.asarray(x, np.float64) for x in batch(jax.random.split(jax.random.key(0), 20_000)))
    # 21.82 is itself an average over 20,000 processes.
    error = optimal.std() / np.sqrt(len(optimal))
    assert abs(optimal.mean() - 21.82) < 4 * np.sqrt(2) * error
    assert abs(random.mean() - 10.0) < 4 * random.std() / np.sqrt(len(random))
    assert (optimal > random).all()


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(["train", "test", "ood"]))
def test_transitions_are_distributions(seed, split):
    P, R = process(seed, split)
    assert P.shape == (4, 2, 4) and R.shape == (4, 2)
    np.testing.assert_allclose(P.sum(axis=2), 1.0, atol=1e-6)
    assert (P >= 0.0).all()
    assert bool((P.max(axis=2) == 1.0).all()) == (split == "ood")


def test_transitions_are_uniform_on_the_simplex_and_rewards_normal():
    keys = jax.random.split(jax.random.key(2), 2000)
    tasks = jax.jit(jax.vmap(lambda k: SMALL.sample(k, "train")))(keys)
    # Each entry of Dirichlet(1, 1, 1, 1) is Beta(1, 3): mean 1/4, variance 3/80.
    P = np.asarray(tasks.transition)
    assert P.mean() == pytest.approx(1 / 4, abs=1e-6) and P.var() == pytest.approx(3 / 80, rel=0.03)
    assert np.mean(P < 0.1) == pytest.approx(1 - 0.9**3, abs=0.01)
    R = np.asarray(tasks.reward)
    assert R.mean() == pytest.approx(1.0, abs=0.03) and R.std() == pytest.approx(1.0, abs=0.03)


def simulate(task, logits, key):
    """One episode by the family's own step: states, actions, rewards, terminated, each [H]."""

    def row(state, key):
        act, move = jax.random.split(key)
        action = jax.random.categorical(act, logits[state.state])
        after, outcome = SMALL.step(move, state, action, task)
        return after, (state.state, action, outcome.reward, outcome.terminated)

    start, _ = SMALL.reset(key, task)
    return jax.lax.scan(row, start, jax.random.split(key, SMALL.horizon))[1]


def test_episodes_follow_the_task_and_the_score_function_gives_the_exact_gradient():
    task = SMALL.sample(jax.random.key(3), "train")
    P, R = task.transition, task.reward
    logits = jax.random.normal(jax.random.key(4), (4, 2))
    keys = jax.random.split(jax.random.key(5), 40_000)
    states, actions, rewards, terminated = jax.jit(jax.vmap(lambda k: simulate(task, logits, k)))(keys)
    assert (np.asarray(states)[:, 0] == 0).all()
    np.testing.assert_array_equal(terminated, np.tile([False] * 4 + [True], (len(keys), 1)))

    returns = np.asarray(rewards, np.float64).sum(axis=1)
    exact = mdp.expected_return(P, R, logits, SMALL.horizon)
    assert abs(returns.mean() - exact) < 4 * returns.std() / np.sqrt(len(returns))

    def score(states, actions):
        return jax.grad(lambda θ: jax.nn.log_softmax(θ)[states, actions].sum())(logits)

    # REINFORCE: ∇J = E[Σ_t ∇ log π(a_t|s_t) · return].
    samples = np.asarray(jax.vmap(score)(states, actions), np.float64) * returns[:, None, None]
    gradient = mdp.policy_gradient(P, R, logits, SMALL.horizon)
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - gradient) < 4 * error).all()
    assert (np.abs(gradient) > 8 * error).any()  # otherwise the comparison would say nothing

    noise = np.asarray(rewards) - np.asarray(R)[states, actions]
    assert noise.std() == pytest.approx(1.0, abs=0.01)


def test_features_tell_the_whole_task():
    task = SMALL.sample(jax.random.key(6), "train")
    features = SMALL.features(task)
    assert features.shape == (SMALL.spec.features,)
    np.testing.assert_array_equal(features[:8].reshape(4, 2), task.reward)
    np.testing.assert_array_equal(features[8:].reshape(4, 2, 4), task.transition)


def test_observations_are_one_hot():
    task = SMALL.sample(jax.random.key(6), "ood")
    state, obs = SMALL.reset(jax.random.key(0), task)
    np.testing.assert_array_equal(obs, [1.0, 0.0, 0.0, 0.0])
    _, outcome = SMALL.step(jax.random.key(0), state, jnp.int32(1), task)
    np.testing.assert_array_equal(outcome.obs, task.transition[0, 1])  # the one state that it leads to


def test_an_empty_mdp_is_refused():
    with pytest.raises(AdaptaxError, match="at least 1"):
        TabularMDP(states=0)


# --- planning ----------------------------------------------------------------------------------

# Two states. In 0: stay for 1, or go to 1 for 0. In 1: both actions pay 3 and lead back to 0.
CHAIN_P = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
CHAIN_R = jnp.array([[1.0, 0.0], [3.0, 3.0]])


def test_values_of_a_chain_by_hand():
    q = mdp.finite_horizon_values(CHAIN_P, CHAIN_R, 3)
    # With one step left: stay. With two: go, 0 + 3. With three: 1 + 0 + 3 or 0 + 3 + 1.
    np.testing.assert_allclose(q[:, 0], [[4.0, 4.0], [2.0, 3.0], [1.0, 0.0]])
    np.testing.assert_allclose(q[:, 1, 0], [6.0, 4.0, 3.0])
    # For ever with γ = 1/2: staying is worth 2; going, 0 + 3/2 + v/4, so v = 2 as well; and V(1) = 3 + 2/2.
    np.testing.assert_allclose(mdp.value_iteration(CHAIN_P, CHAIN_R, 0.5), [2.0, 4.0], rtol=1e-5)
    stay = jnp.array([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(mdp.policy_evaluation(CHAIN_P, CHAIN_R, stay, 0.9), [10.0, 12.0], rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seeds, discounts)
def test_value_iteration_solves_bellmans_equation(seed, γ):
    P, R = process(seed)
    V = mdp.value_iteration(P, R, γ)
    scale = float(jnp.abs(V).max())
    assert mdp.bellman_residual(P, R, V, γ) < 1e-6 * scale
    # The greedy policy of V*, evaluated by a linear solve, has value V*; every other policy at most that.
    greedy = jax.nn.one_hot((R + γ * P @ V).argmax(axis=1), 2)
    np.testing.assert_allclose(mdp.policy_evaluation(P, R, greedy, γ), V, atol=2e-4 * scale)
    other = jax.nn.softmax(jax.random.normal(jax.random.key(seed), R.shape))
    assert (mdp.policy_evaluation(P, R, other, γ) <= V + 2e-4 * scale).all()


@settings(max_examples=20, deadline=None)
@given(seeds, discounts)
def test_the_optimality_operator_is_a_contraction(seed, γ):
    P, R = process(seed)
    U, V = 10.0 * jax.random.normal(jax.random.key(seed), (2, 4))
    TU, TV = (mdp.optimality_backup(P, R, v, γ) for v in (U, V))
    assert jnp.abs(TU - TV).max() <= γ * jnp.abs(U - V).max() + 1e-5


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_values_grow_with_the_horizon_where_rewards_are_positive(seed):
    P, R = process(seed)
    q = mdp.finite_horizon_values(P, jnp.abs(R), 6)
    assert (q[:-1] >= q[1:] - 1e-5).all()
    # A shorter horizon is the tail of a longer one.
    np.testing.assert_allclose(mdp.finite_horizon_values(P, jnp.abs(R), 4), q[2:], rtol=1e-5)


@pytest.mark.parametrize("γ", [1.0, -0.1, 1.5])
def test_value_iteration_refuses_what_does_not_converge(γ):
    with pytest.raises(AdaptaxError, match="0 ≤ γ < 1"):
        mdp.value_iteration(CHAIN_P, CHAIN_R, γ)


# --- policy gradient ---------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(0, 3))
def test_policy_gradient_equals_automatic_differentiation(seed, start):
    P, R = process(seed)
    logits = jax.random.normal(jax.random.key(seed), R.shape)
    exact = jax.grad(mdp.expected_return, argnums=2)(P, R, logits, 5, start)
    np.testing.assert_allclose(mdp.policy_gradient(P, R, logits, 5, start), exact, atol=1e-5)


def test_expected_return_by_hand():
    # Chain, two steps, going with probability 1/4: stay, stay 9/16·2; stay, go 3/16·1; go, back 1/4·3.
    logits = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]]))
    by_hand = 9 / 16 * 2 + 3 / 16 * 1 + 1 / 4 * 3
    np.testing.assert_allclose(mdp.expected_return(CHAIN_P, CHAIN_R, logits, 2), by_hand, rtol=1e-5)


def test_gradient_ascent_finds_the_best_stationary_policy_of_a_chain():
    climbed = jnp.zeros((2, 2))
    for _ in range(100):
        climbed = climbed + mdp.policy_gradient(CHAIN_P, CHAIN_R, climbed, 5)
    going = jnp.linspace(0.001, 0.999, 999)
    every = jax.vmap(lambda p: jnp.log(jnp.array([[1 - p, p], [0.5, 0.5]])))(going)
    returns = jax.vmap(lambda θ: mdp.expected_return(CHAIN_P, CHAIN_R, θ, 5))(every)
    np.testing.assert_allclose(mdp.expected_return(CHAIN_P, CHAIN_R, climbed, 5), returns.max(), rtol=1e-5)
    # Knowing the step number is worth more: go, back, go, back, stay.
    assert returns.max() < mdp.finite_horizon_values(CHAIN_P, CHAIN_R, 5)[0, 0].max() == 7.0


# --- tabular learning --------------------------------------------------------------------------

γ = 0.7


def action_values(P, R, V):
    return R + γ * P @ V


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("exploration_decay", [0.0, 0.2])
def test_q_learning_converges_to_value_iteration(seed, exploration_decay):
    P, R = process(seed)
    q = mdp.q_learning(P, R, γ, 200_000, jax.random.key(seed), exploration_decay)
    np.testing.assert_allclose(q, action_values(P, R, mdp.value_iteration(P, R, γ)), atol=0.06)


@pytest.mark.parametrize("seed", [1, 2])
def test_sarsa_converges_to_value_iteration_if_exploration_ends(seed):
    P, R = process(seed)
    q = mdp.sarsa(P, R, γ, 200_000, jax.random.key(seed), exploration_decay=0.5)
    optimal = action_values(P, R, mdp.value_iteration(P, R, γ))
    np.testing.assert_allclose(q, optimal, atol=0.15)
    np.testing.assert_array_equal(q.argmax(axis=1), optimal.argmax(axis=1))


@pytest.mark.parametrize("seed", [1, 2])
def test_sarsa_evaluates_the_random_policy_if_exploration_never_ends(seed):
    P, R = process(seed)
    q = mdp.sarsa(P, R, γ, 200_000, jax.random.key(seed), exploration_decay=0.0)
    random = mdp.policy_evaluation(P, R, jnp.full(R.shape, 0.5), γ)
    np.testing.assert_allclose(q, action_values(P, R, random), atol=0.06)
    # Far from Q*: what tells SARSA from Q-learning.
    assert jnp.abs(q - action_values(P, R, mdp.value_iteration(P, R, γ))).max() > 0.3
