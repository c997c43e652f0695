"""Obstacles: every map has a way, walls stop and turn the robot, and rays tell how far they are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.obstacle_navigation import Map, ObstacleNavigation, State

FAMILY = ObstacleNavigation(cells=4)
KEY = jax.random.key(0)
EMPTY = Map(jnp.zeros((4, 4), bool), jnp.array([0.875, 0.875]))
WALL = Map(EMPTY.walls.at[1, :].set(True).at[1, 3].set(False), EMPTY.goal)
"""From 0.25 to 0.5 along x, with a gate at the top."""


def moved(place, action, task=WALL, family=FAMILY):
    state = State(jnp.array(place), jnp.array(False))
    state, outcome = family.step(KEY, state, jnp.array(action), task)
    return np.asarray(state.position), bool(state.bumped), outcome


def reached(walls):
    """Cells that can be walked to from the corner: breadth first."""
    found, todo = {(0, 0)}, [(0, 0)]
    while todo:
        x, y = todo.pop()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            inside = 0 <= cell[0] < len(walls) and 0 <= cell[1] < len(walls)
            if inside and cell not in found and not walls[cell]:
                found.add(cell)
                todo.append(cell)
    return found


@pytest.mark.parametrize("split", ["train", "ood"])
def test_every_map_has_a_way(split):
    family = ObstacleNavigation(density=0.9)
    maps = jax.vmap(lambda key: family.sample(key, split))(jax.random.split(KEY, 100))
    for walls, goal in zip(np.asarray(maps.walls), np.asarray(maps.goal), strict=True):
        assert not walls[0, 0]
        assert tuple((goal * 8).astype(int)) in reached(walls)
    beyond = np.asarray(maps.goal > 0.5).sum(1)
    assert (beyond == (2 if split == "train" else 1)).all(), "goals lie in their quarters"
    assert 0.5 < maps.walls.mean() < 0.85


def test_walls_stop_and_turn_the_robot():
    place, bumped, _ = moved([0.1, 0.1], [0.05, 0.02])
    np.testing.assert_allclose(place, [0.15, 0.12], atol=1e-6)
    assert not bumped
    place, bumped, _ = moved([0.24, 0.1], [0.05, 0.02])
    np.testing.assert_allclose(place, [0.24, 0.12], atol=1e-6, err_msg="along the wall")
    assert bumped
    place, bumped, _ = moved([0.24, 0.1], [0.05, 0.0])
    np.testing.assert_allclose(place, [0.24, 0.1], atol=1e-6)
    assert bumped
    place, bumped, _ = moved([0.24, 0.9], [0.05, 0.0])
    np.testing.assert_allclose(place, [0.29, 0.9], atol=1e-6)
    assert not bumped, "through the gate"
    place, bumped, _ = moved([0.02, 0.1], [-0.05, 0.0])
    assert bumped and 0.0 < place[0] < 0.001, "the world ends"


def test_what_is_paid():
    _, _, far = moved([0.1, 0.1], [0.0, 0.0])
    assert float(far.reward) == pytest.approx(-np.hypot(0.775, 0.775))
    _, _, bump = moved([0.24, 0.1], [0.05, 0.0])
    assert float(bump.reward) == pytest.approx(-np.hypot(0.635, 0.775) - 0.1)
    _, _, near = moved([0.8, 0.875], [0.05, 0.0], EMPTY)
    assert near.terminated and near.success and not far.terminated
    sparse = dataclasses.replace(FAMILY, reward="sparse")
    assert float(moved([0.8, 0.875], [0.05, 0.0], EMPTY, sparse)[2].reward) == 1.0
    assert float(moved([0.1, 0.1], [0.0, 0.0], EMPTY, sparse)[2].reward) == 0.0


def test_rays_tell_how_far_walls_are():
    """To the right the wall is 0.15 away: eleven of sixteen pieces of 0.0125, each looked at at its end, are free."""
    obs = np.asarray(FAMILY.observe(State(jnp.array([0.1, 0.5]), jnp.array(True)), WALL))
    np.testing.assert_allclose(obs[:5], [0.1, 0.5, 0.775, 0.375, 1.0], atol=1e-6)
    assert obs[5] == pytest.approx(11 / 16)
    assert obs[7] == 1.0, "nothing above"
    assert obs[9] == pytest.approx(7 / 16), "the border is 0.1 away to the left"
    assert ObstacleNavigation(rays=0).spec.observation == (5,)


@pytest.mark.parametrize(
    "settings", [{"cells": 3}, {"density": 1.5}, {"max_step": 0.2}, {"sight": 0.0}, {"rays": -1}]
)
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(AdaptaxError):
        ObstacleNavigation(**settings)
