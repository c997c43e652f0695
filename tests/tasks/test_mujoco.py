"""MuJoCo's robots: rewards by hand from the simulator's own state, bodies by their arrays, splits, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import stats

from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import draw_host_tasks
from adaptax.tasks import mujoco, mujoco_envs
from adaptax.tasks.registry import ENTRIES, describe, make_family, rebuild

ROBOTS = [name for name, entry in ENTRIES.items() if issubclass(entry.cls, mujoco.Robot)]


@pytest.mark.parametrize("name", ROBOTS)
def test_the_spec_is_that_of_the_environment(name):
    """`maker` refuses an environment of other spaces than the spec's."""
    family = make_family(name)
    task = family.sample(np.random.default_rng(0), "train")
    env = family.maker(task)
    assert env.reset(0).shape == family.spec.observation
    assert len(family.features(task)) == family.spec.features
    obs, reward, *_ = env.step(np.zeros(family.spec.action.size, np.float32))
    assert np.isfinite(obs).all() and np.isfinite(reward)
    env.close()
    assert rebuild(describe(family)) == family


def stepped(family, task, action):
    """The environment after one step from a seeded start, where its torso was before, and what the step gave."""
    env = family.make(task)
    env.reset(seed=1)
    data = env.unwrapped.data
    before = data.qpos.copy(), data.body("torso").xpos.copy()
    return env.unwrapped, before, env.step(action)


@pytest.mark.parametrize("way", [-1.0, 1.0])
def test_a_cheetah_is_paid_for_its_direction(way):
    action = np.array([0.5, -0.3, 0.2, 0.1, 0.9, -1.0])
    env, (qpos, _), (_, reward, terminated, truncated, _) = stepped(
        mujoco.HalfCheetahDir(), np.array([way, 0.0]), action
    )
    velocity = (env.data.qpos[0] - qpos[0]) / env.dt
    assert env.dt == 0.05
    assert reward == pytest.approx(way * velocity - 0.05 * (action**2).sum(), abs=1e-6)
    assert not terminated and not truncated


@pytest.mark.parametrize("speed", [0.1, 1.9])
def test_a_cheetah_is_paid_for_its_speed(speed):
    action = np.full(6, 0.7)
    env, (qpos, _), (_, reward, *_) = stepped(mujoco.HalfCheetahVel(), np.array([speed]), action)
    velocity = (env.data.qpos[0] - qpos[0]) / env.dt
    assert reward == pytest.approx(-abs(velocity - speed) - 0.05 * 6 * 0.49, abs=1e-6)


def test_a_swimmer_is_paid_for_being_near_its_speed_and_not_far_from_it():
    near, far = (stepped(mujoco.SwimmerVel(), np.array([speed]), np.zeros(2))[2][1] for speed in (0.1, 5.0))
    assert near > far + 4.0


def test_an_ant_is_paid_for_the_way_that_it_goes():
    action, direction = np.full(8, 0.5), np.array([0.6, -0.8])
    family = mujoco.AntDir(directions="circle")
    env, (_, torso), (_, reward, *_) = stepped(family, direction, action)
    velocity = (env.data.body("torso").xpos - torso)[:2] / env.dt
    contacts = 5e-4 * np.square(np.clip(env.data.cfrc_ext, -1.0, 1.0)).sum()
    assert reward == pytest.approx(velocity @ direction - 0.005 * 8 * 0.25 - contacts + 0.05, abs=1e-5)


def test_an_ant_is_paid_for_being_at_its_goal():
    goal = np.array([1.0, -2.0])
    env, _, (obs, reward, *_) = stepped(mujoco.AntGoal(), goal, np.zeros(8))
    place = env.data.body("torso").xpos[:2]
    contacts = 5e-4 * np.square(np.clip(env.data.cfrc_ext, -1.0, 1.0)).sum()
    assert reward == pytest.approx(4.05 - np.abs(place - goal).sum() - contacts, abs=1e-5)
    np.testing.assert_allclose(obs[:2], env.data.qpos[:2], err_msg="it sees where it is")


@pytest.mark.parametrize("family", [mujoco.WalkerParams(), mujoco.HopperParams()])
def test_a_body_is_changed_entry_by_entry(family):
    size = family.spec.features
    same = family.make(np.zeros(size)).unwrapped.model
    assert mujoco_envs.body_size(same) == size
    exponents = np.linspace(-3.0, 3.0, size)
    other = family.make(exponents).unwrapped.model
    expected = np.concatenate(
        [
            (
                getattr(same, name) * np.reshape(base ** exponents[a : a + n], getattr(same, name).shape)
            ).ravel()
            for (name, base), a, n in zip(mujoco_envs.BODY.items(), *_places(same), strict=True)
        ]
    )
    found = np.concatenate([getattr(other, name).ravel() for name in mujoco_envs.BODY])
    np.testing.assert_allclose(found, expected)
    action = np.ones(family.actuators)
    after = [stepped(family, task, action)[2][0] for task in (np.zeros(size), exponents)]
    assert np.abs(after[0] - after[1]).max() > 1e-3, "another body moves otherwise"
    with pytest.raises(AdaptaxError, match=f"changed by {size} numbers"):
        family.make(np.zeros(3))


def _places(model):
    sizes = [getattr(model, name).size for name in mujoco_envs.BODY]
    return np.cumsum([0, *sizes[:-1]]).tolist(), sizes


@pytest.mark.parametrize("name", ROBOTS)
def test_splits(name):
    """L7 for tasks of worker processes: one prior, other tasks, and `ood` outside it."""
    family = make_family(name)
    spec = family.spec
    splits = ["train", "test"] + (["ood"] if spec.ood else [])
    x = {
        split: np.stack([family.features(t) for t in draw_host_tasks(family, split, 200, 0)])
        for split in splits
    }
    assert (
        min(stats.ks_2samp(a, b).pvalue for a, b in zip(x["train"].T, x["test"].T, strict=True))
        > 1e-3 / spec.features
    )
    both = {tuple(row) for row in np.concatenate([x["train"], x["test"]])}
    assert len(both) == 2 if spec.shared_tasks else len(both) == 400
    if spec.ood:
        low, high = x["train"].min(0), x["train"].max(0)
        assert ((x["ood"] < low) | (x["ood"] > high)).any(1).all()


def test_what_is_missing_or_wrong_is_said(monkeypatch):
    for family in (mujoco.HalfCheetahVel(slowest=2.0, fastest=1.0), mujoco.HopperParams(horizon=0)):
        with pytest.raises(AdaptaxError, match="needs"):
            _ = family.spec
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(AdaptaxError, match=r"adaptax\[mujoco\]"):
        mujoco.SwimmerVel().make(np.array([0.1]))
