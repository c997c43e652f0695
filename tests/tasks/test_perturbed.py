"""Physics that change in mid-episode."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.pendulum import Pendulum
from adaptax.tasks.perturbed import Perturbed


def check_change() -> None:
    """Two steps as ever, then two with twice the mass; the next episode begins with the mass that it was."""
    pendulum, task = Pendulum(), Pendulum.default_task()
    heavier = dataclasses.replace(task, mass=2 * task.mass)
    family = Perturbed(pendulum, "mass", 2.0, at=2)
    step, plain, action = jax.jit(family.step), jax.jit(pendulum.step), jnp.array([1.5])
    for episode in range(2):
        key = jax.random.key(episode)
        state, obs = family.reset(key, task)
        inner, expected = pendulum.reset(key, task)
        np.testing.assert_array_equal(obs, expected)
        for t in range(4):
            state, outcome = step(key, state, action, task)
            inner, wanted = plain(key, inner, action, task if t < 2 else heavier)
            np.testing.assert_allclose(outcome.obs, wanted.obs, rtol=1e-5, atol=1e-6)
            assert jnp.allclose(outcome.reward, wanted.reward, rtol=1e-5)


def test_physics_change_in_mid_episode():
    check_change()


def test_a_parameter_must_be_there():
    with pytest.raises(AdaptaxError, match="no 'masss'"):
        Perturbed(Pendulum(), "masss", 2.0, at=2)
    with pytest.raises(AdaptaxError, match="at must be 0 or more"):
        Perturbed(Pendulum(), "mass", 2.0, at=-1)
    with pytest.raises(AdaptaxError, match="factor finite"):
        Perturbed(Pendulum(), "mass", float("nan"), at=1)
