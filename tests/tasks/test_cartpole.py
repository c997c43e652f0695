"""CartPole against Gymnasium's, and what its hidden physics asks of a learner."""

import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, draw, one

from adaptax.collection.collect import collect_task
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical
from adaptax.tasks.cartpole import CartPole, Physics
from adaptax.types import Layout, Out

FAMILY = CartPole()
DEFAULT = CartPole.default_task()
BALANCING = np.array([0.05, 0.2, 4.0, 1.0], np.float32)
"""A linear controller: push right where its product with the state is positive."""


step = jax.jit(lambda state, action, task: FAMILY.step(KEY, state, action, task))


def length_of_episode(gains, task, key):
    """Steps until the pole falls under a linear controller, at most 500."""

    def row(carry, _):
        state, up = carry
        state, outcome = FAMILY.step(key, state, (gains @ state > 0).astype(jnp.int32), task)
        return (state, up & ~outcome.terminated), up

    begun = (FAMILY.reset(key, task)[0], jnp.array(True))
    return jax.lax.scan(row, begun, length=500)[1].sum()


lengths = jax.jit(jax.vmap(length_of_episode))


# --- Gymnasium ---------------------------------------------------------------------------------


def gymnasium_step(task, state, action):
    """(observation, reward, terminated) of Gymnasium's environment, given a task's physics."""
    env = gymnasium.make("CartPole-v1").unwrapped
    gravity, masscart, masspole, length, force = (float(x) for x in jax.tree.leaves(task))
    env.gravity, env.masscart, env.masspole, env.length, env.force_mag = (
        gravity, masscart, masspole, length, force,
    )  # fmt: skip
    env.total_mass, env.polemass_length = masscart + masspole, masspole * length
    env.state = np.asarray(state, np.float64)
    return env.step(action)[:3]


@pytest.mark.parametrize("which", ["default", "train", "ood"])
def test_a_step_equals_gymnasiums(which):
    """From states all over the track, many of them beside a limit. The default task is an untouched `CartPole-v1`."""
    n = 500
    rng = np.random.default_rng(0)
    scale = np.array([2.6, 3.0, 0.23, 3.0])
    states = (rng.uniform(-1, 1, (n, 4)) * scale).astype(np.float32)
    actions = rng.integers(0, 2, n)
    tasks = None if which == "default" else draw(FAMILY, which, n)
    limits, ends = np.array([2.4, 12 * 2 * math.pi / 360]), []
    env = gymnasium.make("CartPole-v1").unwrapped
    for i in range(n):
        if tasks is None:
            task = DEFAULT
            env.reset(seed=i)
            env.state = states[i].astype(np.float64)
            expected = env.step(actions[i])[:3]
        else:
            task = one(tasks, i)
            expected = gymnasium_step(task, states[i], actions[i])
        state, outcome = step(states[i], jnp.int32(actions[i]), task)
        np.testing.assert_allclose(outcome.obs, expected[0], rtol=2e-5, atol=2e-6)
        np.testing.assert_array_equal(outcome.obs, state)
        assert outcome.reward == expected[1] == 1.0
        if np.abs(np.abs(expected[0][[0, 2]]) - limits).min() > 1e-5:
            assert bool(outcome.terminated) == expected[2]
        assert not outcome.truncated and outcome.success is None
        ends.append(expected[2])
    assert 0.05 < np.mean(ends) < 0.5


def test_whole_episodes_equal_gymnasiums():
    """Random actions, from Gymnasium's own starts: the same observations to the last step, which both call the last."""
    env = gymnasium.make("CartPole-v1")
    rng = np.random.default_rng(1)
    for seed in range(50):
        obs, _ = env.reset(seed=seed)
        state, terminated = jnp.array(obs), False
        while not terminated:
            action = int(rng.integers(2))
            obs, reward, terminated, truncated, _ = env.step(action)
            state, outcome = step(state, jnp.int32(action), DEFAULT)
            np.testing.assert_allclose(outcome.obs, obs, rtol=1e-4, atol=1e-5)
            assert (outcome.reward, outcome.terminated) == (reward, terminated) and not truncated


class Controller(Learner):
    """The balancing controller; theta is its gains."""

    def act(self, theta, fast, memory, step, key):
        return Out(Categorical(jnp.stack([0.0, theta @ step.obs])), jnp.zeros(())), memory


def test_a_balanced_episode_is_cut_off_where_gymnasiums_is():
    env = gymnasium.make("CartPole-v1")
    (obs, _), total, ended = env.reset(seed=0), 0.0, False
    while not ended:
        obs, reward, terminated, truncated, _ = env.step(int(BALANCING @ obs > 0))
        total, ended = total + reward, terminated or truncated
    assert truncated and not terminated and total == 500

    layout = Layout(rounds=1, streams=1, steps=510, episodes=1)
    rounds, _, _ = jax.jit(
        lambda: collect_task(Controller(), FAMILY, BALANCING, None, DEFAULT, layout, KEY, modal=True)
    )()
    rows = jax.tree.map(lambda x: np.asarray(x)[0, 0], (rounds.valid, rounds.truncated, rounds.terminated))
    valid, truncated, terminated = rows
    assert valid.sum() == 500 and valid[:500].all()
    assert truncated[499] and not truncated[:499].any() and not terminated[:500].any()


def test_starts_are_uniform_as_gymnasiums():
    starts = np.asarray(jax.vmap(lambda k: FAMILY.reset(k, DEFAULT)[1])(jax.random.split(KEY, 4000)))
    assert np.abs(starts).max() <= 0.05
    np.testing.assert_allclose(starts.mean(0), 0.0, atol=2e-3)
    np.testing.assert_allclose(starts.std(0), 0.05 / math.sqrt(3), atol=1e-3)


# --- a step by hand ----------------------------------------------------------------------------


def test_a_step_by_hand():
    """From rest and upright: push = F/(M+m), α = −push / (l·(4/3 − m/(M+m))), a = push − m·l·α/(M+m)."""
    task = Physics(*(jnp.array(x, jnp.float32) for x in (10.0, 0.8, 0.2, 0.5, 8.0)))
    push, α = 8.0, -8.0 / (0.5 * (4 / 3 - 0.2))
    a = push - 0.1 * α
    np.testing.assert_allclose(step(jnp.zeros(4), 1, task)[0], [0.0, 0.02 * a, 0.0, 0.02 * α], rtol=1e-5)
    np.testing.assert_allclose(step(jnp.zeros(4), 0, task)[0], [0.0, -0.02 * a, 0.0, -0.02 * α], rtol=1e-5)


def test_positions_move_with_the_old_velocities():
    state, _ = step(jnp.array([1.0, 2.0, 0.1, -0.5]), 0, DEFAULT)
    np.testing.assert_allclose([state[0], state[2]], [1.04, 0.09], rtol=1e-5)


def test_a_flip_exchanges_the_actions():
    flipped = Physics(DEFAULT.gravity, DEFAULT.masscart, DEFAULT.masspole, DEFAULT.length, -DEFAULT.force)
    state = jnp.array([0.1, -0.2, 0.03, 0.4])
    for action in (0, 1):
        np.testing.assert_array_equal(step(state, action, flipped)[0], step(state, 1 - action, DEFAULT)[0])


# --- what the tasks ask for --------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_a_controller_told_the_sign_alone_attains_the_optimum(split):
    tasks = draw(FAMILY, split, 1000)
    gains = np.sign(tasks.force)[:, None] * BALANCING
    attained = lengths(gains, tasks, jax.random.split(jax.random.key(1), 1000))
    np.testing.assert_array_equal(attained, jax.vmap(FAMILY.optimal)(tasks))


def test_no_linear_controller_balances_both_directions():
    """Of 2,000 controllers, none keeps a pole up for long in both directions: one must find out which it is."""
    rng = np.random.default_rng(0)
    gains = np.concatenate([[BALANCING, -BALANCING], rng.normal(size=(1998, 4)) * [1, 1, 10, 3]])
    keys = jax.random.split(KEY, 2000)
    held = []
    for sign in (1.0, -1.0):
        task = jax.tree.map(lambda leaf: jnp.full(2000, leaf), DEFAULT)
        task = Physics(task.gravity, task.masscart, task.masspole, task.length, sign * task.force)
        held.append(np.asarray(lengths(np.float32(gains), task, keys)))
    assert max(held[0]) == max(held[1]) == 500
    assert np.minimum(*held).max() < 60


# --- tasks -------------------------------------------------------------------------------------


def test_features_are_the_logarithms_over_the_ranges():
    family = CartPole(gravity=(5.0, 20.0), masscart=(1.0, 4.0))
    task = Physics(*(jnp.array(x, jnp.float32) for x in (10.0, 4.0, 0.05, 0.9, -7.0)))
    np.testing.assert_allclose(family.features(task), [0.0, 1.0, -1.0, 1.0, -1.0, -1.0], atol=1e-5)
