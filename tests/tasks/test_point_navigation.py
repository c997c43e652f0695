"""2D navigation against the published environments' rules, and its closed-form optimum against simulation."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import to_environment
from adaptax.tasks.point_navigation import PointNavigation, SparsePointNavigation

KEY = jax.random.key(0)
DENSE, SQUARED = PointNavigation(), PointNavigation(reward="squared")
SPARSE, GUIDED = SparsePointNavigation(), SparsePointNavigation(reward="dense")
FAMILIES = [DENSE, SQUARED, SPARSE, GUIDED]
by_reward = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f"{f.spec.name}-{f.reward}")
numbers = st.floats(-1.0, 1.0, width=32)


def draw(family, split, n=4000):
    return np.asarray(jax.vmap(lambda k: family.sample(k, split))(jax.random.split(KEY, n)))


def step(family, position, action, goal):
    """(new position, outcome) of one step, from lists."""
    state, outcome = family.step(KEY, *(jnp.array(x, jnp.float32) for x in (position, action, goal)))
    np.testing.assert_array_equal(state, outcome.obs)
    return np.asarray(state), outcome


def play(family, policy, goal, key):
    """Return of one episode under policy(key, position, goal) -> action in the policy's units."""

    def row(carry, key):
        position, running = carry
        action = to_environment(family.spec.action, policy(key, position, goal))
        position, outcome = family.step(key, position, action, goal)
        return (position, running & ~outcome.terminated), jnp.where(running, outcome.reward, 0.0)

    begun = (family.reset(key, goal)[0], jnp.array(True))
    return jax.lax.scan(row, begun, jax.random.split(key, family.horizon))[1].sum()


def straight(key, position, goal):
    return (goal - position) / 0.1


# --- steps -------------------------------------------------------------------------------------


def test_a_step_moves_then_pays_minus_the_new_distance():
    position, outcome = step(DENSE, [0.0, 0.0], [0.1, -0.03], [0.3, -0.04])
    np.testing.assert_allclose(position, [0.1, -0.03], rtol=1e-5)
    assert outcome.reward == pytest.approx(-math.hypot(0.2, 0.01), rel=1e-6)
    assert step(SQUARED, [0.0, 0.0], [0.1, -0.03], [0.3, -0.04])[1].reward == pytest.approx(-0.0401, rel=1e-5)
    assert not outcome.terminated and not outcome.truncated and not outcome.success


@pytest.mark.parametrize(
    ("left", "arrived"),
    [((0.009, -0.009), True), ((0.011, 0.0), False), ((0.0, -0.011), False), ((0.0, 0.0), True)],
)
def test_an_episode_terminates_near_the_goal_on_both_axes(left, arrived):
    """Also where the Euclidean distance is above the radius, and the arriving step is still paid for."""
    goal = np.array([0.1, 0.05])
    outcome = step(DENSE, [0.0, 0.0], goal + left, goal)[1]
    assert bool(outcome.terminated) == bool(outcome.success) == arrived and not outcome.truncated
    assert outcome.reward == pytest.approx(-math.hypot(*left), abs=1e-6)


@given(st.tuples(numbers, numbers), st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8))
def test_episodes_equal_the_published_rules(goal, actions):
    """Rules of pytorch-maml-rl's `2DNavigation-v0` and of PEARL's sparse point robot, in float64."""
    there = here = np.zeros(2)
    for raw in actions:
        action = np.asarray(to_environment(DENSE.spec.action, 2 * jnp.array(raw)))
        there = there + np.clip(0.2 * np.array(raw), -0.1, 0.1)
        here, outcome = step(DENSE, here, action, goal)
        left = np.abs(there - goal)
        np.testing.assert_allclose(here, there, atol=1e-6)
        assert outcome.reward == pytest.approx(-np.sqrt((left**2).sum()), abs=1e-6)
        if np.abs(left - 0.01).min() > 1e-6:
            assert outcome.terminated == (left < 0.01).all()
        distance = np.sqrt((left**2).sum())
        sparse = step(SPARSE, here, (0.0, 0.0), goal)[1]
        if abs(distance - 0.2) > 1e-6:
            assert sparse.reward == pytest.approx(1 - distance if distance < 0.2 else 0.0, abs=1e-6)
            assert sparse.success == (distance < 0.2)
        assert step(GUIDED, here, (0.0, 0.0), goal)[1].reward == pytest.approx(-distance, abs=1e-6)
        assert not sparse.terminated and not sparse.truncated


@by_reward
def test_actions_are_clipped_on_each_axis_alone(family):
    action = to_environment(family.spec.action, jnp.array([5.0, -0.5]))
    np.testing.assert_allclose(action, [0.1, -0.05], rtol=1e-5)
    np.testing.assert_array_equal(
        to_environment(family.spec.action, jnp.array([-2.0, 1.0])), np.float32([-0.1, 0.1])
    )


@by_reward
def test_an_episode_begins_in_the_origin_and_hides_the_goal(family):
    goal = family.sample(KEY, "train")
    state, obs = family.reset(KEY, goal)
    np.testing.assert_array_equal(state, np.zeros(2))
    np.testing.assert_array_equal(obs, np.zeros(2))
    np.testing.assert_array_equal(family.features(goal), goal)
    assert obs.shape == family.spec.observation and family.spec.features == 2


def test_the_published_horizons():
    assert DENSE.spec.episode_steps == 100 and SPARSE.spec.episode_steps == 20


# --- splits ------------------------------------------------------------------------------------


def test_goals_fill_the_square_and_ood_ones_the_frame_around_it():
    for split in ("train", "test"):
        goals = draw(DENSE, split)
        assert np.abs(goals).max() <= 0.5
        np.testing.assert_allclose(goals.mean(0), 0.0, atol=0.02)
        np.testing.assert_allclose(goals.std(0), 1 / math.sqrt(12), atol=0.01)
    goals = draw(DENSE, "ood")
    far = np.abs(goals).max(axis=1)
    assert far.min() > 0.5 and far.max() <= 1.0
    assert far.mean() == pytest.approx(0.75, abs=0.01)
    for axis, sign in itertools.product((0, 1), (-1, 1)):  # each side of the frame
        assert (sign * goals[:, axis] == far).mean() == pytest.approx(0.25, abs=0.03)
    assert np.abs(draw(PointNavigation(goal_range=2.0), "ood")).max(axis=1).min() > 2.0


def test_goals_lie_on_the_half_circle_and_ood_ones_on_the_other():
    for split, sign in (("train", 1), ("test", 1), ("ood", -1)):
        goals = draw(SPARSE, split)
        np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1.0, rtol=1e-5)
        assert (sign * goals[:, 1]).min() > 0.0
        angles = np.arccos(goals[:, 0])
        assert angles.mean() == pytest.approx(math.pi / 2, abs=0.05)
        assert angles.std() == pytest.approx(math.pi / math.sqrt(12), abs=0.03)


# --- the optimum -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "goal", "best"),
    [
        (DENSE, (0.25, 0.0), -0.15 - 0.05),
        (SQUARED, (-0.25, 0.0), -0.0225 - 0.0025),
        (DENSE, (0.3, -0.4), -math.hypot(0.2, 0.3) - math.hypot(0.1, 0.2) - 0.1),
        (DENSE, (0.005, 0.3), -0.2 - 0.1),
        (DENSE, (0.005, 0.005), 0.0),
        (PointNavigation(horizon=2), (1.0, 0.0), -0.9 - 0.8),
        (PointNavigation(goal_radius=0.2), (0.25, 0.1), -0.15),
        (SPARSE, (0.96, 0.28), 0.84 + 0.94 + 11 * 1.0),
        (
            SPARSE,
            (0.5**0.5, 0.5**0.5),
            2 - math.hypot(0.5**0.5 - 0.6, 0.5**0.5 - 0.6) - (1 - 0.7 * 2**0.5) + 13,
        ),
        (GUIDED, (0.0, -1.0), -sum(range(10)) / 10),
    ],
    ids=str,
)
def test_the_optimum_by_hand(family, goal, best):
    assert family.optimal(jnp.array(goal)) == pytest.approx(best, rel=1e-5, abs=1e-6)


@by_reward
def test_the_optimum_is_the_return_of_going_straight(family):
    goals = np.concatenate([draw(family, split, 500) for split in ("train", "ood")])
    earned = jax.jit(jax.vmap(lambda goal: play(family, straight, goal, KEY)))(goals)
    np.testing.assert_allclose(jax.vmap(family.optimal)(goals), earned, rtol=1e-5, atol=1e-5)


NOISY = {
    family: jax.jit(
        jax.vmap(
            lambda goal, gain, noise, key, family=family: play(
                family,
                lambda k, position, g: gain * straight(k, position, g) + noise * jax.random.normal(k, (2,)),
                goal,
                key,
            )
        )
    )
    for family in FAMILIES
}


@by_reward
@given(seed=st.integers(0, 2**31 - 1))
def test_no_policy_exceeds_the_optimum(family, seed):
    """From random walks to nearly straight ones."""
    keys = jax.random.split(jax.random.key(seed), 200)
    rng = np.random.default_rng(seed)
    goals = jax.vmap(lambda k: family.sample(k, "ood" if seed % 2 else "train"))(keys)
    gain, noise = rng.uniform(0, 2, 200), 10 ** rng.uniform(-3, 0.5, 200)
    earned = NOISY[family](goals, np.float32(gain), np.float32(noise), keys)
    assert (earned <= jax.vmap(family.optimal)(goals) + 1e-5).all()


@by_reward
def test_no_plan_exceeds_the_optimum(family):
    """All plans of three moves over a grid of actions, which holds a best one: goals lie on the grid."""
    family = type(family)(horizon=3, max_step=0.5, goal_radius=0.3, reward=family.reward)
    moves = np.array(list(itertools.product((-0.5, -0.25, 0.0, 0.25, 0.5), repeat=2)), np.float32)
    plans = moves[np.array(list(itertools.product(range(25), repeat=3)))]

    def follow(plan, goal):
        def row(carry, action):
            position, running = carry
            position, outcome = family.step(KEY, position, action, goal)
            return (position, running & ~outcome.terminated), jnp.where(running, outcome.reward, 0.0)

        return jax.lax.scan(row, (jnp.zeros(2), jnp.array(True)), plan)[1].sum()

    best = jax.jit(lambda goal: jax.vmap(lambda plan: follow(plan, goal))(plans).max())
    for goal in ([0.75, 0.25], [-1.0, 0.5], [0.25, -2.0], [0.0, 0.25], [1.25, 1.25]):
        assert family.optimal(jnp.array(goal)) == pytest.approx(float(best(jnp.array(goal))), abs=1e-6)


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PointNavigation(max_step=0.0), "max_step .* above 0"),
        (lambda: PointNavigation(goal_range=-1.0), "goal_range .* above 0"),
        (lambda: SparsePointNavigation(horizon=0), "horizon .* above 0"),
        (lambda: SparsePointNavigation(goal_radius=1.5), "goal_radius must be below 1"),
        (lambda: PointNavigation(max_step=math.inf), "max_step .* finite"),
    ],
)
def test_impossible_fields_are_refused(make, says):
    with pytest.raises(AdaptaxError, match=says):
        make()


@pytest.mark.parametrize(
    ("family", "rewards"), [(DENSE, "distance or squared"), (SPARSE, "sparse, shaped, peaked or dense")]
)
def test_an_unknown_reward_is_refused(family, rewards):
    family = dataclasses.replace(family)
    object.__setattr__(
        family, "reward", "squarred"
    )  # the constructor would be stopped by the tests' type checks
    with pytest.raises(AdaptaxError, match=f"{rewards}, not 'squarred'"):
        family.__post_init__()


def test_the_shaped_reward_is_for_meta_training_alone():
    """What a learner sees and is scored by is the sparse reward; what the outer loop maximises is minus the distance."""
    key, task, action = jax.random.key(0), jnp.array([0.0, 1.0]), jnp.array([0.0, 0.1])
    position = jnp.array([0.0, 0.5])
    _, sparse = SparsePointNavigation().step(key, position, action, task)
    _, shaped = SparsePointNavigation(reward="shaped").step(key, position, action, task)
    assert sparse.reward == shaped.reward == 0.0 and sparse.shaped_reward is None
    np.testing.assert_allclose(shaped.shaped_reward, -0.4, rtol=1e-5)
    _, peaked = SparsePointNavigation(reward="peaked").step(key, position, action, task)
    np.testing.assert_allclose(peaked.shaped_reward, 0.2, rtol=1e-5)
