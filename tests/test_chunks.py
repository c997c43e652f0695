"""However the task axis is divided, the same numbers come out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.chunks import CACHE_FLOATS, chunk_size, map_tasks, mean_gradient, mean_over_tasks

TASKS = 12
DIVISORS = [1, 2, 3, 4, 6, 12]
RNG = np.random.default_rng(0)
XS = {"x": jnp.asarray(RNG.normal(size=(TASKS, 3)), jnp.float32), "i": jnp.arange(TASKS)}
THETA = jnp.asarray(RNG.normal(size=3), jnp.float32)


def loss(theta, task):
    """Not linear in the task, so that a task left out, counted twice or averaged too early shows."""
    return jnp.sum(jnp.sin(theta * task["x"]) ** 2) * (1 + task["i"]), {"largest": jnp.max(theta * task["x"])}


@pytest.mark.parametrize("chunk", [*DIVISORS, 5, 100])
def test_map_tasks_is_vmap(chunk):
    """A chunk need not divide the number of tasks."""
    f = lambda task: {"y": jnp.cumsum(task["x"]), "j": task["i"] * 2}  # noqa: E731
    out = jax.jit(lambda xs: map_tasks(f, xs, chunk))(XS)
    np.testing.assert_allclose(out["y"], np.cumsum(XS["x"], 1), rtol=1e-5)
    np.testing.assert_array_equal(out["j"], 2 * np.arange(TASKS))


@pytest.mark.parametrize("chunk", DIVISORS)
def test_mean_gradient_is_that_of_the_mean(chunk):
    gradient, metrics = jax.jit(lambda theta: mean_gradient(loss, theta, XS, chunk))(THETA)
    x, i, θ = np.asarray(XS["x"], np.float64), np.arange(TASKS)[:, None], np.asarray(THETA, np.float64)
    by_hand = (np.sin(2 * θ * x) * x * (1 + i)).mean(0)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-4)
    np.testing.assert_allclose(metrics["largest"], (θ * x).max(1).mean(), rtol=1e-5)


def test_tasks_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="12 tasks do not divide into chunks of 5"):
        mean_over_tasks(lambda x: x["x"].mean(0), XS, 5)


@pytest.mark.parametrize(
    "tasks, floats, size",
    [
        (12, 1, 12),
        (12, CACHE_FLOATS, 1),
        (12, 10 * CACHE_FLOATS, 1),
        (12, CACHE_FLOATS // 5, 4),
        (7, CACHE_FLOATS // 5, 1),
    ],
)
def test_a_chunk_is_the_largest_divisor_that_fits_the_cache(tasks, floats, size):
    assert jax.default_backend() == "cpu"
    assert chunk_size(tasks, floats) == size


def test_an_accelerator_takes_all_tasks_at_once(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunk_size(12, 10 * CACHE_FLOATS) == 12
