"""The mixture of two environments is the one or the other, padded, masked, and cut off where each is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, draw, one

from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.collection.collect import collect_task
from adaptax.errors import AdaptaxError
from adaptax.tasks.cartpole_mountain_car import CartPoleMountainCar
from adaptax.types import Layout

FAMILY = CartPoleMountainCar()
TASKS = draw(FAMILY, "train", 200)


@pytest.mark.parametrize("is_car", [False, True], ids=["CartPole", "MountainCar"])
def test_a_task_is_one_of_the_two_families_own(is_car):
    """The same steps under the same actions; in units, padded with zeros, and then which of the two it is."""
    part = FAMILY.car if is_car else FAMILY.pole
    mixed_step, own_step = jax.jit(FAMILY.step), jax.jit(part.step)
    centre, unit = ((-0.3, 0.0), (0.9, 0.07)) if is_car else ((0.0,) * 4, (2.4, 2.0, 0.2, 2.0))

    def seen(own):
        own = (np.asarray(own) - centre) / unit
        return [*own, *[0.0] * (4 - len(own)), float(is_car)]

    for i in np.flatnonzero(np.asarray(TASKS.is_car) == is_car)[:5]:
        task = one(TASKS, i)
        own = task.car if is_car else task.pole
        state, obs = FAMILY.reset(KEY, task)
        own_state, own_obs = part.reset(KEY, own)
        np.testing.assert_allclose(obs, seen(own_obs), rtol=1e-5)
        mask = FAMILY.action_mask(state, task)
        np.testing.assert_array_equal(mask, [True, True, is_car])
        rng = np.random.default_rng(i)
        for _ in range(30):
            action = jnp.int32(rng.integers(part.spec.action.n))
            state, outcome = mixed_step(KEY, state, action, task)
            own_state, expected = own_step(KEY, own_state, action, own)
            np.testing.assert_allclose(outcome.obs, seen(expected.obs), rtol=1e-4, atol=1e-5)
            assert outcome.reward == expected.reward and outcome.terminated == expected.terminated
            shaped = expected.shaped_reward if is_car else expected.reward
            np.testing.assert_allclose(outcome.shaped_reward, shaped, rtol=1e-4, atol=1e-5)
            assert outcome.success is None
            if outcome.terminated:
                break


def check_masks():
    """Actions of collected rows are those of the environments: CartPole's third is never taken, the car's is."""
    learner = RandomPolicy().build(FAMILY.spec).learner
    layout = Layout(rounds=1, streams=1, steps=400, episodes=2)

    def collected(task, key):
        return collect_task(learner, FAMILY, None, None, task, layout, key, modal=False)[0]

    tasks = jax.tree.map(lambda leaf: leaf[:20], TASKS)
    rows = jax.jit(jax.vmap(collected))(tasks, jax.random.split(KEY, 20))
    for i in range(20):
        taken = np.unique(np.asarray(rows.action)[i][np.asarray(rows.valid)[i]])
        assert taken.tolist() == ([0, 1, 2] if TASKS.is_car[i] else [0, 1])


def test_forbidden_actions_are_never_taken():
    check_masks()


@pytest.mark.parametrize(("pole", "car"), [(3, 5), (5, 3)])
def test_each_environment_is_cut_off_at_its_own_horizon(pole, car):
    family = CartPoleMountainCar(cartpole_horizon=pole, car_horizon=car)
    assert family.spec.episode_steps == 5
    for task in (one(TASKS, int(np.argmax(TASKS.is_car))), one(TASKS, int(np.argmin(TASKS.is_car)))):
        state, _ = family.reset(KEY, task)
        cut = []
        for _ in range(5):
            state, outcome = family.step(KEY, state, jnp.int32(0), task)
            cut.append(bool(outcome.truncated))
        assert cut.index(True) + 1 == (car if task.is_car else pole)


def test_a_step_that_terminates_is_not_cut_off():
    family = CartPoleMountainCar(cartpole_horizon=1)
    task = one(TASKS, int(np.argmin(TASKS.is_car)))
    state, _ = family.reset(KEY, task)
    fallen = type(state)(jnp.array([2.5, 1.0, 0.0, 0.0]), state.elapsed)
    outcome = family.step(KEY, fallen, jnp.int32(1), task)[1]
    assert outcome.terminated and not outcome.truncated


def test_features_tell_which_and_its_physics():
    features = np.asarray(jax.vmap(FAMILY.features)(TASKS))
    is_car = np.asarray(TASKS.is_car)
    np.testing.assert_array_equal(features[:, 0], np.where(is_car, 1.0, -1.0))
    assert not features[is_car, 1:7].any() and not features[~is_car, 7:].any()
    pole, car = (jax.vmap(f.features)(t) for f, t in ((FAMILY.pole, TASKS.pole), (FAMILY.car, TASKS.car)))
    np.testing.assert_allclose(features[~is_car, 1:7], np.asarray(pole)[~is_car], rtol=1e-5)
    np.testing.assert_allclose(features[is_car, 7:], np.asarray(car)[is_car], rtol=1e-5)


def test_half_of_the_tasks_are_cars_and_half_are_flipped():
    tasks = draw(FAMILY, "test", 4000)
    assert tasks.is_car.mean() == pytest.approx(0.5, abs=0.03)
    assert (tasks.pole.force < 0).mean() == pytest.approx(0.5, abs=0.03)
    assert ((tasks.car.force < 0) & tasks.is_car).mean() == pytest.approx(0.25, abs=0.03)
    assert draw(CartPoleMountainCar(car_probability=1.0), "train", 50).is_car.all()


def test_shaping_is_that_of_the_mountain_car():
    family = CartPoleMountainCar(shaping=False)
    for task in (one(TASKS, 0), one(TASKS, 1)):
        state, _ = family.reset(KEY, task)
        assert family.step(KEY, state, jnp.int32(0), task)[1].shaped_reward is None
    assert CartPoleMountainCar(shaping_scale=5.0).car.shaping_scale == 5.0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"car_probability": -0.1}, "car_probability .* between 0 and 1"),
        ({"flip_probability": 1.5}, "flip_probability .* between 0 and 1"),
        ({"cartpole_horizon": 0}, "CartPole needs at least one step"),
        ({"car_horizon": 0}, "MountainCar needs at least one step"),
        ({"shaping_gamma": 2.0}, "shaping_gamma"),
    ],
)
def test_impossible_fields_are_refused(fields, says):
    with pytest.raises(AdaptaxError, match=says):
        CartPoleMountainCar(**fields)
