"""Families of functions against values by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.functions import Fourier, Levels, Polynomial, Steps

X = jnp.array([-5.0, 0.0, 2.5])


def check_values() -> None:
    steps = Levels(jnp.array([-1.0, 2.0]), jnp.array([7.0, 8.0, 9.0]))
    np.testing.assert_allclose(Steps().value(steps, X), [7.0, 8.0, 9.0])
    # 1 + 2z + 4z³ at z = −1, 0, ½
    np.testing.assert_allclose(
        Polynomial().value(jnp.array([1.0, 2.0, 0.0, 4.0]), X), [-5.0, 1.0, 2.5], rtol=1e-5
    )
    # sin z + (cos 2z)/2 at z = −π, 0, π/2
    waves = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(Fourier(harmonics=2).value(waves, X), [0.5, 0.5, 0.5], atol=1e-5)


def test_values_by_hand():
    check_values()


@pytest.mark.parametrize("family", [Steps(), Polynomial(), Fourier()])
def test_examples_are_of_the_task(family):
    key = jax.random.key(0)
    task = family.sample(key, "test")
    examples = family.examples(key, task, "test")
    for x, y in ((examples.support_x, examples.support_y), (examples.query_x, examples.query_y)):
        np.testing.assert_allclose(y[:, 0], family.value(task, x[:, 0]), rtol=1e-5)
    assert examples.support_x.shape == (10, 1) and examples.query_x.shape == (100, 1)
    assert jnp.abs(examples.query_x).max() <= 5.0


def check_out_of_distribution() -> None:
    """No coefficient of an `ood` task is one that meta-training could draw."""
    keys = jax.random.split(jax.random.key(0), 50)
    for split, low, high in (("train", 0.0, 3.0), ("ood", 3.0, 6.0)):
        drawn = np.abs(jax.vmap(lambda k, s=split: Polynomial().sample(k, s))(keys))
        assert low <= drawn.min() and drawn.max() <= high


def test_out_of_distribution_is_out_of_it():
    check_out_of_distribution()


def test_what_cannot_be_is_told():
    for family, sentence in (
        (lambda: Steps(pieces=1), "two pieces"),
        (lambda: Polynomial(degree=0), "degree of at least 1"),
        (lambda: Fourier(harmonics=0), "one harmonic"),
        (lambda: Fourier(shots=0), "Fourier needs at least one shot"),
    ):
        with pytest.raises(AdaptaxError, match=sentence):
            family()
