"""The mountain cars against Gymnasium's, what their hidden physics asks of a learner, and the shaping."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, changed, draw, one, roll

from adaptax.errors import AdaptaxError
from adaptax.tasks.mountain_car import MountainCar, MountainCarContinuous

DISCRETE, CONTINUOUS = MountainCar(), MountainCarContinuous()

discrete_step = jax.jit(lambda state, action, task: DISCRETE.step(KEY, state, action, task))
continuous_step = jax.jit(lambda state, action, task: CONTINUOUS.step(KEY, state, action, task))


def told(first=1.0):
    """Drives with the velocity, and first to one side; is told which way is which."""

    def direction(state, task):
        side = jnp.where(state[1] == 0, first, jnp.sign(state[1]))
        return side * jnp.sign(task.force)

    return direction


def three(direction):
    return lambda state, task: (direction(state, task) + 1).astype(jnp.int32)


def real(direction):
    return lambda state, task: direction(state, task)[None]


# --- Gymnasium ---------------------------------------------------------------------------------


def states(n, rng):
    """All over the track, a third beside the wall and a third beside the goal."""
    x = rng.uniform(-1.2, 0.6, n)
    x[: n // 3] = rng.uniform(-1.2, -1.1, n // 3)
    x[n // 3 : 2 * n // 3] = rng.uniform(0.38, 0.6, n // 3)
    return np.stack([x, rng.uniform(-0.07, 0.07, n)], 1).astype(np.float32)


def agree(outcome, state, expected, goal):
    np.testing.assert_allclose(outcome.obs, expected[0], rtol=1e-5, atol=2e-7)
    np.testing.assert_array_equal(outcome.obs, state)
    np.testing.assert_allclose(outcome.reward, expected[1], rtol=1e-5)
    x, v = expected[0]
    if abs(x - goal) > 1e-6 and abs(v) > 1e-6:
        assert outcome.terminated == outcome.success == expected[2]
    assert not outcome.truncated


@pytest.mark.parametrize("which", ["default", "train", "ood"])
def test_a_step_equals_gymnasiums(which):
    """The default task is an untouched `MountainCar-v0`."""
    n, rng = 600, np.random.default_rng(0)
    starts, actions, ends, walls = states(n, rng), rng.integers(0, 3, n), [], []
    tasks = None if which == "default" else draw(DISCRETE, which, n)
    env = gymnasium.make("MountainCar-v0").unwrapped
    for i in range(n):
        task = DISCRETE.default_task()
        if tasks is not None:
            task = one(tasks, i)
            env.gravity, env.force, env.goal_position = (float(x) for x in jax.tree.leaves(task))
        env.state = tuple(starts[i].astype(np.float64))
        expected = env.step(int(actions[i]))
        state, outcome = discrete_step(starts[i], jnp.int32(actions[i]), task)
        agree(outcome, state, expected, float(task.goal))
        ends.append(expected[2])
        walls.append(float(expected[0][0]) == np.float32(-1.2))
    assert 0.05 < np.mean(ends) < 0.5 and 0.03 < np.mean(walls) < 0.5


@pytest.mark.parametrize("which", ["default", "train", "ood"])
def test_a_continuous_step_equals_gymnasiums(which):
    """Its gravity is a constant there; the next test has the hidden one."""
    n, rng = 600, np.random.default_rng(1)
    starts, actions, ends = states(n, rng), rng.uniform(-1, 1, (n, 1)).astype(np.float32), []
    tasks = None if which == "default" else draw(CONTINUOUS, which, n)
    env = gymnasium.make("MountainCarContinuous-v0").unwrapped
    for i in range(n):
        task = CONTINUOUS.default_task()
        if tasks is not None:
            task = changed(one(tasks, i), gravity=0.0025)
            env.power, env.goal_position = float(task.force), float(task.goal)
        env.state = starts[i].astype(np.float64)
        expected = env.step(actions[i])
        state, outcome = continuous_step(starts[i], actions[i], task)
        agree(outcome, state, expected, float(task.goal))
        ends.append(expected[2])
    assert 0.05 < np.mean(ends) < 0.5


def test_a_continuous_step_at_full_power_is_that_of_the_discrete_car():
    n, rng = 300, np.random.default_rng(2)
    starts, tasks = states(n, rng), draw(CONTINUOUS, "train", n)
    actions = rng.integers(0, 3, n)
    ours, outcome = jax.vmap(continuous_step)(starts, np.float32(actions - 1)[:, None], tasks)
    theirs, other = jax.vmap(discrete_step)(starts, actions, tasks)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_array_equal(outcome.terminated, other.terminated)


@pytest.mark.parametrize("name", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_whole_episodes_equal_gymnasiums(name):
    """Driven with the velocity from Gymnasium's own starts, to the goal and for as long."""
    discrete = name == "MountainCar-v0"
    env, step = gymnasium.make(name), discrete_step if discrete else continuous_step
    task = (DISCRETE if discrete else CONTINUOUS).default_task()
    for seed in range(5):
        obs, _ = env.reset(seed=seed)
        state, ended = jnp.array(obs), False
        while not ended:
            side = 1.0 if obs[1] >= 0 else -1.0
            action = int(side) + 1 if discrete else np.array([side], np.float32)
            obs, reward, terminated, truncated, _ = env.step(action)
            state, outcome = step(state, jnp.asarray(action), task)
            np.testing.assert_allclose(outcome.obs, obs, rtol=1e-3, atol=1e-4)
            assert outcome.reward == pytest.approx(reward, rel=1e-5) and outcome.terminated == terminated
            ended = terminated or truncated
        assert terminated and outcome.success


def test_specs_equal_gymnasiums():
    for family, name in ((DISCRETE, "MountainCar-v0"), (CONTINUOUS, "MountainCarContinuous-v0")):
        env = gymnasium.make(name)
        assert env.spec is not None and family.spec.episode_steps == env.spec.max_episode_steps
        assert env.observation_space.shape == family.spec.observation


def test_starts_are_uniform_at_rest():
    starts = np.asarray(
        jax.vmap(lambda k: DISCRETE.reset(k, DISCRETE.default_task())[1])(jax.random.split(KEY, 4000))
    )
    assert starts[:, 0].min() >= -0.6 and starts[:, 0].max() <= -0.4 and not starts[:, 1].any()
    np.testing.assert_allclose([starts[:, 0].mean(), starts[:, 0].std()], [-0.5, 0.2 / 12**0.5], atol=2e-3)


# --- steps by hand -----------------------------------------------------------------------------


def check_by_hand():
    """v' = v ± force − gravity · cos(3x), x' = x + v'; the wall is inelastic."""
    task = changed(DISCRETE.default_task(), gravity=0.002, force=0.001)
    np.testing.assert_allclose(discrete_step(jnp.zeros(2), 2, task)[0], [-0.001, -0.001], rtol=1e-5)
    np.testing.assert_allclose(discrete_step(jnp.zeros(2), 1, task)[0], [-0.002, -0.002], rtol=1e-5)
    np.testing.assert_allclose(discrete_step(jnp.zeros(2), 0, task)[0], [-0.003, -0.003], rtol=1e-5)
    wall, _ = discrete_step(jnp.array([-1.19, -0.05]), 0, task)
    np.testing.assert_array_equal(wall, np.array([-1.2, 0.0], np.float32))


def test_a_step_by_hand():
    check_by_hand()


def test_a_flip_exchanges_left_and_right():
    task = DISCRETE.default_task()
    flipped = changed(task, force=-task.force)
    state = jnp.array([-0.3, 0.02])
    for action in (0, 1, 2):
        np.testing.assert_array_equal(
            discrete_step(state, action, flipped)[0], discrete_step(state, 2 - action, task)[0]
        )
    a = jnp.array([0.4])
    np.testing.assert_array_equal(continuous_step(state, a, flipped)[0], continuous_step(state, -a, task)[0])


# --- what the tasks ask for --------------------------------------------------------------------


def test_a_controller_told_the_direction_arrives_with_time_to_spare():
    returns, steps, arrived = roll(DISCRETE, three(told()), draw(DISCRETE, "train", 4000))
    assert arrived.all() and steps.max() <= 150 and returns.mean() > -120


def test_every_ood_task_can_be_solved():
    """By pumping from a first push to the one side or to the other: a weak car may stall where it began."""
    tasks = draw(DISCRETE, "ood", 2000)
    steps = np.minimum(*(roll(DISCRETE, three(told(first)), tasks)[1] for first in (1.0, -1.0)))
    assert steps.max() <= 190 and steps.mean() < 120


def test_a_controller_that_is_not_told_fails_where_the_actions_are_exchanged():
    tasks = draw(DISCRETE, "test", 1000)
    untold = three(lambda state, task: jnp.where(state[1] >= 0, 1.0, -1.0))
    arrived = roll(DISCRETE, untold, tasks)[2]
    flipped = np.asarray(tasks.force) < 0
    assert arrived[~flipped].all() and not arrived[flipped].any()


@pytest.mark.parametrize("split", ["train", "ood"])
def test_the_continuous_car_arrives_too(split):
    tasks = draw(CONTINUOUS, split, 500)
    returns, steps, arrived = roll(CONTINUOUS, real(told()), tasks)
    assert arrived.all() and steps.max() < 300 and returns.mean() > 88
    np.testing.assert_allclose(returns, 100 - 0.1 * steps, rtol=1e-4)


# --- shaping -----------------------------------------------------------------------------------


def test_the_potential_is_what_energy_is_missing():
    task = DISCRETE.default_task()
    bottom = jnp.array([-np.pi / 6, 0.0])
    assert DISCRETE.potential(bottom, task) == pytest.approx(-100.0, rel=1e-5)
    height = 0.0025 * (np.sin(1.5) + 1) / 3  # of the goal above the bottom
    enough = bottom.at[1].set(np.sqrt(2 * height))
    assert DISCRETE.potential(enough, task) == pytest.approx(0.0, abs=1e-3)
    half = bottom.at[1].set(np.sqrt(height))
    assert DISCRETE.potential(half, task) == pytest.approx(-50.0, rel=1e-4)
    assert DISCRETE.potential(jnp.array([0.5, 0.05]), task) == 0.0
    # Beyond the top of the hill the goal is lower; one must cross the top all the same.
    far = changed(task, goal=0.56)
    assert DISCRETE.potential(jnp.array([np.pi / 6, 0.0]), far) == pytest.approx(0.0, abs=1e-4)
    other = MountainCar(shaping_scale=7.0)
    assert other.potential(half, task) == pytest.approx(-3.5, rel=1e-4)


def check_shaping():
    """r + γΦ(s') − Φ(s), and Φ = 0 at the goal, although this car creeps in with less energy than the hill's top holds."""
    family = MountainCar(shaping_gamma=0.9)
    task = changed(family.default_task(), goal=0.54)
    state = jnp.array([-0.5, 0.01])
    after, outcome = family.step(KEY, state, jnp.int32(2), task)
    before, following = family.potential(state, task), family.potential(after, task)
    assert -100 < before < following < -80
    np.testing.assert_allclose(outcome.shaped_reward, -1 + 0.9 * following - before, rtol=1e-5)
    state = jnp.array([0.575, 0.0])
    after, outcome = family.step(KEY, state, jnp.int32(2), task)
    assert outcome.terminated and family.potential(after, task) < -0.3
    np.testing.assert_allclose(outcome.shaped_reward, -1 - family.potential(state, task), rtol=1e-5)


def test_the_shaped_reward_by_hand():
    check_shaping()


@pytest.mark.parametrize("γ", [1.0, 0.97])
@pytest.mark.parametrize("family", [MountainCar, MountainCarContinuous])
def test_shaping_adds_what_no_policy_can_change(family, γ):
    """Discounted by γ, an episode that arrives is worth −Φ of its first state more, driven by whichever controller."""
    family = family(shaping_gamma=γ)
    discrete, task = family.spec.name == "mountain-car", family.default_task()
    first, _ = family.reset(jax.random.key(3), task)
    for side in (1.0, -1.0):

        def row(carry, _, side=side):
            state, alive, discount, paid, shaped = carry
            action = (three if discrete else real)(told(side))(state, task)
            state, o = family.step(KEY, state, action, task)
            weight = alive * discount
            carry = (
                state, alive & ~o.terminated, discount * γ,
                paid + weight * o.reward, shaped + weight * o.shaped_reward,
            )  # fmt: skip
            return carry, o.shaped_reward

        begun = (first, jnp.array(True), jnp.ones(()), jnp.zeros(()), jnp.zeros(()))
        _, alive, _, paid, shaped = jax.lax.scan(row, begun, length=200)[0]
        assert not alive
        np.testing.assert_allclose(shaped - paid, -family.potential(first, task), rtol=1e-3, atol=1e-3)


def test_without_shaping_there_is_no_shaped_reward():
    for family, action in (
        (MountainCar(shaping=False), jnp.int32(1)),
        (MountainCarContinuous(shaping=False), jnp.zeros(1)),
    ):
        outcome = family.step(KEY, jnp.array([-0.5, 0.0]), action, family.default_task())[1]
        assert outcome.shaped_reward is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"goal": (0.4, 0.58)}, "goal must lie within the track"),
        ({"shaping_scale": 0.0}, "shaping_scale must be above 0"),
        ({"shaping_gamma": 1.1}, "shaping_gamma .* at most 1"),
    ],
)
def test_impossible_fields_are_refused(fields, says):
    for cls in (MountainCar, MountainCarContinuous):
        with pytest.raises(AdaptaxError, match=says):
            cls(**fields)
