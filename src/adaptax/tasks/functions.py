"""Families of functions, to be learned from a few points, or to be minimised."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.types import Box, Spec

TEST_QUERIES = 100
"""Points that a test task is asked about: many, so that the error is that of the function."""


class Wave(eqx.Module):
    """A task: y = A sin(x − φ)."""

    amplitude: Array
    phase: Array
    """rad"""


@dataclasses.dataclass(frozen=True)
class Sinusoid(SupervisedFamily):
    """Sine waves of hidden amplitude and phase: the regression tasks of Finn et al. 2017, §5.1.

    y = A sin(x − φ), A ~ U[0.1, 5], φ ~ U[0, π], x ~ U[−5, 5]; without noise. `ood`: amplitudes from 5 to 10.
    """

    shots: int = 10
    """Labelled points of a new wave."""
    queries: int = 10
    """Points asked about in meta-training; at test time 100."""

    def __post_init__(self):
        if self.shots < 1 or self.queries < 1:
            raise AdaptaxError("Sinusoid needs at least one shot and one query.")

    @property
    def spec(self) -> Spec:
        return Spec(
            "sinusoid",
            (1,),
            Box((-math.inf,), (math.inf,)),
            episode_steps=self.shots,
            features=2,
            support=self.shots,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Wave:
        k_amplitude, k_phase = jax.random.split(key)
        low, high = (5.0, 10.0) if split == "ood" else (0.1, 5.0)
        return Wave(
            jax.random.uniform(k_amplitude, minval=low, maxval=high),
            jax.random.uniform(k_phase, maxval=math.pi),
        )

    def examples(self, key: Key[Array, ""], task: Wave, split: Split) -> Examples:
        queries = self.queries if split == "train" else TEST_QUERIES
        x = jax.random.uniform(key, (self.shots + queries, 1), minval=-5.0, maxval=5.0)
        y = task.amplitude * jnp.sin(x - task.phase)
        return Examples(x[: self.shots], y[: self.shots], x[self.shots :], y[self.shots :])

    def features(self, task: Wave) -> Float[Array, " 2"]:
        return jnp.stack([task.amplitude, task.phase])


class LeastSquares(eqx.Module):
    """A task: f(w) = ‖Ww − y‖²/n."""

    matrix: Array
    """W [n, n]"""
    target: Array
    """y [n]"""


@dataclasses.dataclass(frozen=True)
class Quadratic(SupervisedFamily):
    """Random quadratics to be minimised: the first problem of Andrychowicz et al. 2016, §3.1.

    f(w) = ‖Ww − y‖²/n, W [n, n] and y [n] of independent standard normal entries. As a supervised task: the rows of W are the
    inputs and the entries of y the labels of a linear model (`hidden=()`, to which its bias is one coordinate more); support and
    queries are the same rows, so that the score is −f. `ood`: the entries of W are twice as large.
    """

    dimensions: int = 10
    """n"""

    def __post_init__(self):
        if self.dimensions < 1:
            raise AdaptaxError(f"Quadratic needs at least one dimension, not {self.dimensions}.")

    @property
    def spec(self) -> Spec:
        n = self.dimensions
        label = Box((-math.inf,), (math.inf,))
        return Spec("quadratic", (n,), label, episode_steps=n, features=n * (n + 1), support=n)

    def sample(self, key: Key[Array, ""], split: Split) -> LeastSquares:
        k_matrix, k_target = jax.random.split(key)
        n, scale = self.dimensions, 2.0 if split == "ood" else 1.0
        return LeastSquares(scale * jax.random.normal(k_matrix, (n, n)), jax.random.normal(k_target, (n,)))

    def examples(self, key: Key[Array, ""], task: LeastSquares, split: Split) -> Examples:
        x, y = task.matrix, task.target[:, None]
        return Examples(x, y, x, y)

    def features(self, task: LeastSquares) -> Float[Array, " f"]:
        return jnp.concatenate([task.matrix.reshape(-1), task.target])
