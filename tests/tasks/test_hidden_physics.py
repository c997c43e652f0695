"""What all families with hidden physics promise of their tasks, and that CartPole's draws stay what they were."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tasks.hidden_physics_checks import KEY, draw

from adaptax.errors import AdaptaxError
from adaptax.tasks.acrobot import Acrobot
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.hidden_physics import wrapped
from adaptax.tasks.mountain_car import MountainCar, MountainCarContinuous
from adaptax.tasks.pendulum import Pendulum

FAMILIES = [CartPole, MountainCar, MountainCarContinuous, Acrobot, Pendulum]
families = pytest.mark.parametrize("cls", FAMILIES)


def parameters(cls):
    return [field.name for field in dataclasses.fields(cls.physics)]


def check_ranges(cls=MountainCar):
    family, n = cls(), len(parameters(cls))
    for split in ("train", "test"):
        tasks = draw(family, split, 4000)
        signs = np.sign(getattr(tasks, cls.signed))
        features = np.asarray(jax.vmap(family.features)(tasks))
        assert features.shape == (4000, family.spec.features) == (4000, n + 1)
        assert np.abs(features[:, :n]).max() <= 1.0 + 1e-4
        np.testing.assert_allclose(features[:, :n].mean(0), 0.0, atol=0.03)
        np.testing.assert_allclose(features[:, :n].std(0), 1 / math.sqrt(3), atol=0.02)
        np.testing.assert_array_equal(features[:, n], signs)
        assert (signs < 0).mean() == pytest.approx(0.5, abs=0.03)
        for name in parameters(cls):
            low, high = getattr(family, name)
            values = np.abs(getattr(tasks, name))
            assert low * (1 - 1e-5) <= values.min() and values.max() <= high * (1 + 1e-5)
            assert name == cls.signed or getattr(tasks, name).min() > 0


def check_ood(cls=MountainCar):
    family, n = cls(), len(parameters(cls))
    tasks = draw(family, "ood", 4000)
    features = np.asarray(jax.vmap(family.features)(tasks))
    assert np.abs(features[:, :n]).min() > 1.0 - 1e-5 and np.abs(features[:, :n]).max() <= 2.0 + 1e-4
    np.testing.assert_allclose((features[:, :n] > 0).mean(0), 0.5, atol=0.03)
    assert (getattr(tasks, cls.signed) < 0).mean() == pytest.approx(0.5, abs=0.03)


@families
def test_parameters_are_log_uniform_in_their_ranges(cls):
    check_ranges(cls)


@families
def test_ood_parameters_all_lie_outside_their_ranges(cls):
    check_ood(cls)


@families
def test_the_ranges_hold_gymnasiums_physics(cls):
    for name, value in vars(cls.default_task()).items():
        low, high = getattr(cls(), name)
        assert low < value < high


@families
def test_a_range_of_one_number_fixes_the_parameter(cls):
    fixed = {name: (float(value),) * 2 for name, value in zip(parameters(cls), cls.gymnasium, strict=True)}
    family = cls(**fixed, flip_probability=0.0)
    assert not family.spec.ood and cls().spec.ood
    task = family.sample(KEY, "train")
    for drawn, known in zip(jax.tree.leaves(task), cls.gymnasium, strict=True):
        np.testing.assert_allclose(drawn, known, rtol=1e-5)
    np.testing.assert_array_equal(family.features(task), [0.0] * len(fixed) + [1.0])
    assert (getattr(draw(cls(flip_probability=1.0), "train", 100), cls.signed) < 0).all()


@families
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"first": (2.0, 1.0)}, "of {name} .* the smaller first"),
        ({"first": (0.0, 1.0)}, "of {name} .* positive"),
        ({"flip_probability": 1.5}, "flip_probability .* between 0 and 1"),
        ({"horizon": 0}, "{name} needs at least one step"),
        ({"episodes": 0}, "one episode"),
    ],
)
def test_impossible_fields_are_refused(cls, fields, says):
    fields = {parameters(cls)[0] if k == "first" else k: v for k, v in fields.items()}
    with pytest.raises(AdaptaxError, match=says.format(name=cls.__name__)):
        cls(**fields)


@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_cartpoles_draws_are_those_of_the_published_figures(split):
    """Bit for bit: the draws as they were written when the figures were made."""

    def published(key):
        low, high = jnp.log(jnp.array([(7.0, 13.0), (0.7, 1.5), (0.05, 0.3), (0.3, 0.9), (7.0, 13.0)])).T
        k_values, k_side, k_flip = jax.random.split(key, 3)
        share = 1.0 - jax.random.uniform(k_values, (5,))
        if split == "ood":
            beyond = share * (high - low) / 2
            logs = jnp.where(jax.random.bernoulli(k_side, shape=(5,)), high + beyond, low - beyond)
        else:
            logs = low + share * (high - low)
        return jnp.exp(logs).at[4].multiply(jnp.where(jax.random.bernoulli(k_flip, 0.5), -1.0, 1.0))

    expected = jax.jit(jax.vmap(published))(jax.random.split(KEY, 200))
    drawn = jnp.stack(jax.tree.leaves(draw(CartPole(), split, 200)), axis=1)
    np.testing.assert_array_equal(drawn, expected)


def test_angles_are_wrapped():
    angles = jnp.array([0.3, 4.0, -4.0, 9.0, 2 * math.pi, -7.0])
    np.testing.assert_allclose(
        wrapped(angles), [0.3, 4 - 2 * np.pi, 2 * np.pi - 4, 9 - 2 * np.pi, 0, 2 * np.pi - 7], atol=1e-6
    )
