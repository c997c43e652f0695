"""VariBAD's gridworld, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.gridworld import GridWorld

STAY, UP, RIGHT, DOWN, LEFT = range(5)
GRID = GridWorld()


def walk(family, goal, actions):
    """(cells, rewards, successes, terminated) of one episode's actions."""

    def row(state, action):
        after, outcome = family.step(jax.random.key(0), state, action, jnp.int32(goal))
        return after, (outcome.obs.argmax(), outcome.reward, outcome.success, outcome.terminated)

    state, obs = family.reset(jax.random.key(1), jnp.int32(goal))
    assert obs[0] == obs.sum() == 1.0
    return [np.asarray(x) for x in jax.lax.scan(row, state, jnp.array(actions, jnp.int32))[1]]


def test_walls_keep_the_walker_in_place():
    actions = [LEFT, DOWN, UP, UP, RIGHT, STAY, LEFT] + 4 * [UP] + 4 * [RIGHT]
    cells, *_ = walk(GRID, 12, actions)
    #               (0,0) (0,0) (0,1) (0,2) (1,2) (1,2) (0,2), up to (0,4) and against the wall, right to (4,4)
    assert list(cells) == [0, 0, 1, 2, 7, 7, 2, 3, 4, 4, 4, 9, 14, 19, 24]


def test_steps_that_end_on_the_goal_pay_and_the_episode_goes_on_to_its_end():
    goal = 2 * 5 + 1  # (2, 1)
    cells, rewards, success, terminated = walk(GRID, goal, [RIGHT, UP, RIGHT, STAY, LEFT, RIGHT] + 9 * [STAY])
    np.testing.assert_allclose(rewards, [-0.1, -0.1, 1, 1, -0.1] + 10 * [1.0], rtol=1e-5)
    np.testing.assert_array_equal(success, cells == goal)
    assert list(terminated) == 14 * [False] + [True]


def test_goals_are_the_published_ones():
    goals = {divmod(int(g), 5) for g in GRID.goals("train")}
    assert len(goals) == 21 and not goals & {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert [divmod(int(g), 5) for g in GRID.goals("ood")] == [(0, 1), (1, 0), (1, 1)]
    for split in ("train", "test", "ood"):
        drawn = jax.vmap(lambda k, split=split: GRID.sample(k, split))(
            jax.random.split(jax.random.key(2), 4000)
        )
        cells, counts = np.unique(drawn, return_counts=True)
        np.testing.assert_array_equal(cells, GRID.goals(split))
        share = 4000 / len(cells)
        assert np.abs(counts - share).max() < 5 * np.sqrt(share)


def test_the_ceiling_is_that_of_the_shortest_way():
    optimal = np.asarray(jax.vmap(GRID.optimal)(jnp.asarray(GRID.goals("train"), jnp.int32)))
    assert optimal.mean() == pytest.approx(16.1 - 1.1 * 96 / 21) == pytest.approx(11.07, abs=0.005)
    for goal, best in list(zip(GRID.goals("train"), optimal, strict=True))[::5]:
        x, y = divmod(int(goal), 5)
        _, rewards, *_ = walk(GRID, goal, x * [RIGHT] + y * [UP] + (15 - x - y) * [STAY])
        assert rewards.sum() == pytest.approx(best, abs=1e-5)


def test_the_ceiling_equals_value_iteration():
    """Also where the time does not suffice to reach the goal."""
    family = GridWorld(size=4, horizon=5)
    for goal in (*family.goals("train"), *family.goals("ood")):
        values = np.zeros(16)
        for _ in range(family.horizon):
            x, y = np.divmod(np.arange(16), 4)
            options = []
            for dx, dy in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
                to = np.clip(x + dx, 0, 3) * 4 + np.clip(y + dy, 0, 3)
                options.append(np.where(to == goal, 1.0, -0.1) + values[to])
            values = np.max(options, axis=0)
        assert float(family.optimal(jnp.int32(goal))) == pytest.approx(values[0], abs=1e-5)


def test_what_a_reward_decoder_and_an_oracle_are_told():
    rewards, features = GRID.rewards(jnp.int32(13)), GRID.features(jnp.int32(13))
    assert np.flatnonzero(rewards == 1.0) == np.flatnonzero(features) == 13
    np.testing.assert_allclose(np.delete(rewards, 13), -0.1, rtol=1e-5)
    assert features.shape == GRID.spec.observation == (25,)


def test_its_map():
    """Cell 7 is (x, y) = (1, 2): column 1, row 2 from below; staying there is seen and paid as the environment does it."""
    places = GRID.places(jnp.int32(7))
    assert np.argwhere(np.asarray(places.reward) == 1.0).tolist() == [[2, 1]]
    state, _ = GRID.reset(jax.random.key(0), jnp.int32(7))
    for action in (1, 1, 2, 0):  # up, up, right, stay
        state, outcome = GRID.step(jax.random.key(0), state, jnp.int32(action), jnp.int32(7))
    assert int(places.action[2, 1]) == 0
    for seen in (places.obs[2, 1], places.next_obs[2, 1]):
        np.testing.assert_array_equal(seen, outcome.obs)
    assert float(outcome.reward) == float(places.reward[2, 1])


def test_sizes():
    assert GRID.spec.shared_tasks and GRID.spec.episodes == 4 and GRID.spec.episode_steps == 15
    assert len(GridWorld(size=7).goals("test")) == 45
    with pytest.raises(AdaptaxError, match="size of 3 or more"):
        GridWorld(size=2)
