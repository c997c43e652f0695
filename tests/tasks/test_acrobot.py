"""Acrobot against Gymnasium's, and what its hidden physics asks of a learner."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, changed, draw, one, roll

from adaptax.tasks.acrobot import Acrobot, observed

FAMILY = Acrobot()
DEFAULT = FAMILY.default_task()

step = jax.jit(lambda state, action, task: FAMILY.step(KEY, state, action, task))


def made(task=None):
    env = gymnasium.make("Acrobot-v1").unwrapped
    if task is not None:
        values = [float(x) for x in jax.tree.leaves(task)]
        env.LINK_LENGTH_1, env.LINK_LENGTH_2, env.LINK_MASS_1, env.LINK_MASS_2, torque = values
        env.LINK_COM_POS_1, env.LINK_COM_POS_2 = env.LINK_LENGTH_1 / 2, env.LINK_LENGTH_2 / 2
        env.AVAIL_TORQUE = [-torque, 0.0, torque]
    return env


def check_steps(which="train", n=200):
    """From states all over, at most speeds that an episode meets and beyond."""
    rng = np.random.default_rng(0)
    states = (rng.uniform(-1, 1, (n, 4)) * [np.pi, np.pi, 8.0, 16.0]).astype(np.float32)
    actions, ends = rng.integers(0, 3, n), []
    tasks = None if which == "default" else draw(FAMILY, which, n)
    for i in range(n):
        task = DEFAULT if tasks is None else one(tasks, i)
        env = made(None if tasks is None else task)
        env.reset(seed=i)
        env.state = states[i].astype(np.float64)
        expected = env.step(int(actions[i]))
        state, outcome = step(states[i], jnp.int32(actions[i]), task)
        np.testing.assert_allclose(outcome.obs, expected[0], rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(outcome.obs, observed(state), atol=1e-6)
        height = -np.cos(env.state[0]) - np.cos(env.state[0] + env.state[1])
        if abs(height - 1.0) > 1e-4:
            assert outcome.terminated == outcome.success == expected[2]
            assert outcome.reward == expected[1] == (0.0 if expected[2] else -1.0)
        assert not outcome.truncated and np.abs(state[:2]).max() <= np.pi + 1e-6
        ends.append(expected[2])
    assert 0.05 < np.mean(ends) < 0.5


@pytest.mark.parametrize("which", ["default", "train", "ood"])
def test_a_step_equals_gymnasiums(which):
    """The default task is an untouched `Acrobot-v1`."""
    check_steps(which)


def test_speeds_are_bounded():
    state, _ = step(jnp.array([0.3, 2.0, 12.5, 28.2]), 2, DEFAULT)
    env = made()
    env.reset(seed=0)
    env.state = np.array([0.3, 2.0, 12.5, 28.2])
    env.step(2)
    np.testing.assert_allclose(state[2:], env.state[2:], rtol=1e-4)
    assert abs(abs(state[2]) - 4 * np.pi) < 1e-5 or abs(abs(state[3]) - 9 * np.pi) < 1e-5


def test_the_first_steps_of_episodes_equal_gymnasiums():
    """From Gymnasium's own starts, as long as two roundings do not grow apart."""
    env, rng = gymnasium.make("Acrobot-v1"), np.random.default_rng(1)
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        state = jnp.array(env.unwrapped.state, jnp.float32)
        np.testing.assert_allclose(observed(state), obs, atol=1e-6)
        for action in rng.integers(0, 3, 60):
            obs, reward, terminated, truncated, _ = env.step(int(action))
            state, outcome = step(state, jnp.int32(action), DEFAULT)
            np.testing.assert_allclose(outcome.obs, obs, rtol=5e-3, atol=5e-3)
            assert (outcome.reward, outcome.terminated) == (reward, terminated) and not truncated


def test_spec_and_starts_equal_gymnasiums():
    env = gymnasium.make("Acrobot-v1")
    assert env.spec is not None and FAMILY.spec.episode_steps == env.spec.max_episode_steps
    assert env.observation_space.shape == FAMILY.spec.observation
    starts = np.asarray(jax.vmap(lambda k: FAMILY.reset(k, DEFAULT)[0])(jax.random.split(KEY, 4000)))
    assert np.abs(starts).max() <= 0.1
    np.testing.assert_allclose(starts.std(0), 0.1 / 3**0.5, atol=2e-3)


def test_hanging_still_stays_so_and_torque_turns_the_second_link():
    still, _ = step(jnp.zeros(4), 1, DEFAULT)
    np.testing.assert_array_equal(still, np.zeros(4))
    turned, _ = step(jnp.zeros(4), 2, DEFAULT)
    other, _ = step(jnp.zeros(4), 0, DEFAULT)
    assert turned[3] > 0 > turned[2]
    np.testing.assert_allclose(other, -turned, atol=1e-7)


def test_a_flip_exchanges_the_directions():
    flipped = changed(DEFAULT, torque=-DEFAULT.torque)
    state = jnp.array([0.1, -0.2, 0.3, 0.4])
    for action in (0, 1, 2):
        np.testing.assert_array_equal(step(state, action, flipped)[0], step(state, 2 - action, DEFAULT)[0])


def pump(state, task):
    """Torque along the velocity of the joint puts the most energy in; is told which way is which."""
    side = jnp.where(state[3] >= 0, 1, -1)
    return (1 + side * jnp.sign(task.torque)).astype(jnp.int32)


@pytest.mark.parametrize(("split", "at_least"), [("test", -105.0), ("ood", -130.0)])
def test_a_controller_told_the_direction_swings_up(split, at_least):
    returns, _, up = roll(FAMILY, pump, draw(FAMILY, split, 500))
    assert up.mean() > 0.98 and returns.mean() > at_least


def test_a_controller_that_is_not_told_brakes_where_the_directions_are_exchanged():
    tasks = draw(FAMILY, "test", 500)
    up = roll(FAMILY, lambda s, t: jnp.where(s[3] >= 0, 2, 0), tasks)[2]
    flipped = np.asarray(tasks.torque) < 0
    assert up[~flipped].mean() > 0.98 and not up[flipped].any()
