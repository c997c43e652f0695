"""Pendulum against Gymnasium's, and what its hidden physics asks of a learner."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, changed, draw, one, roll

from adaptax.tasks.pendulum import Pendulum

FAMILY = Pendulum()
DEFAULT = FAMILY.default_task()

step = jax.jit(lambda state, action, task: FAMILY.step(KEY, state, action, task))


def check_steps(which="train", n=500):
    """The action reaches Gymnasium's rod as the torque that the hidden gain makes of it."""
    rng = np.random.default_rng(0)
    states = (rng.uniform(-1, 1, (n, 2)) * [np.pi, 8.0]).astype(np.float32)
    actions = rng.uniform(-2, 2, (n, 1)).astype(np.float32)
    tasks = None if which == "default" else draw(FAMILY, which, n)
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    for i in range(n):
        task, gain = DEFAULT, 1.0
        if tasks is not None:
            task = one(tasks, i)
            env.g, env.m, env.l, gain = (float(x) for x in jax.tree.leaves(task))
            env.max_torque = 10.0
        env.state = states[i].astype(np.float64)
        obs, reward, terminated, _, _ = env.step(gain * actions[i].astype(np.float64))
        state, outcome = step(states[i], actions[i], task)
        np.testing.assert_allclose(outcome.obs, obs, rtol=1e-5, atol=3e-6)
        np.testing.assert_allclose(outcome.reward, reward, rtol=1e-5)
        assert not (outcome.terminated or terminated or outcome.truncated) and outcome.success is None
        assert abs(state[0]) <= np.pi + 1e-6


@pytest.mark.parametrize("which", ["default", "train", "ood"])
def test_a_step_equals_gymnasiums(which):
    """The default task is an untouched `Pendulum-v1`."""
    check_steps(which)


def test_whole_episodes_equal_gymnasiums():
    """From hanging down, where small differences do not grow: one small torque after another."""
    env, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(1)
    for seed in range(5):
        env.reset(seed=seed)
        env.unwrapped.state = np.array([np.pi - 0.1, 0.2])
        state, length = jnp.array([np.pi - 0.1, 0.2], jnp.float32), 0
        truncated = False
        while not truncated:
            action = rng.uniform(-0.5, 0.5, 1).astype(np.float32)
            obs, reward, terminated, truncated, _ = env.step(action)
            state, outcome = step(state, action, DEFAULT)
            np.testing.assert_allclose(outcome.obs, obs, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(outcome.reward, reward, rtol=1e-3)
            assert not terminated
            length += 1
        assert length == FAMILY.spec.episode_steps


def test_starts_are_uniform_as_gymnasiums():
    starts = np.asarray(jax.vmap(lambda k: FAMILY.reset(k, DEFAULT)[0])(jax.random.split(KEY, 4000)))
    assert (np.abs(starts).max(0) <= [np.pi, 1.0]).all()
    np.testing.assert_allclose(starts.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(starts.std(0), np.array([np.pi, 1.0]) / 3**0.5, rtol=0.03)


def check_by_hand():
    """ω' = ω + 0.05 (3g/(2l) sin θ + 3u/(m l²)), and the old state and the torque are paid for."""
    task = changed(DEFAULT, gravity=8.0, mass=0.5, length=2.0, gain=-1.5)
    state, outcome = step(jnp.array([np.pi / 2, 1.0], jnp.float32), jnp.array([1.0]), task)
    ω = 1.0 + 0.05 * (6.0 + 3 * -1.5 / 2.0)
    np.testing.assert_allclose(state, [np.pi / 2 + 0.05 * ω, ω], rtol=1e-5)
    np.testing.assert_allclose(
        outcome.reward, -(np.pi**2 / 4 + 0.1 + 0.001 * 2.25), rtol=1e-5
    )  # not that of the new state


def test_a_step_by_hand():
    check_by_hand()


def swing_up(sign):
    """Pumps energy until there is enough, then holds; knows Gymnasium's physics, and what `sign` says of the direction."""

    def controller(state, task):
        θ, ω = state
        missing = 15.0 * (1 - jnp.cos(θ)) - ω**2 / 2
        pumped = jnp.clip(4 * missing, -2.0, 2.0) * jnp.where(ω >= 0, 1.0, -1.0)
        held = -(40.0 * θ + 8.0 * ω) / 3
        u = jnp.where(jnp.abs(θ) < 0.5, held, pumped)
        return jnp.clip(sign(task) * u, -2.0, 2.0)[None]

    return controller


def test_a_controller_told_the_direction_alone_swings_up():
    returns, _, _ = roll(FAMILY, swing_up(lambda task: jnp.sign(task.gain)), draw(FAMILY, "test", 500))
    assert returns.mean() > -200


def test_a_controller_that_is_not_told_fails_where_the_action_is_turned_round():
    tasks = draw(FAMILY, "test", 500)
    returns, _, _ = roll(FAMILY, swing_up(lambda task: 1.0), tasks)
    flipped = np.asarray(tasks.gain) < 0
    assert returns[~flipped].mean() > -200 and returns[flipped].mean() < -1000
