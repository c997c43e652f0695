"""Families of functions, to be learned from a few points, or to be minimised."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.types import Box, Spec

TEST_QUERIES = 100
"""Points that a test task is asked about: many, so that the error is that of the function."""
REACH = 5.0
"""Of x, on either side of 0."""


@dataclasses.dataclass(frozen=True)
class Functions(SupervisedFamily):
    """Functions of one number, x ~ U[−5, 5], to be learned from a few points without noise."""

    shots: int = 10
    """Labelled points of a new function."""
    queries: int = 10
    """Points asked about in meta-training; at test time 100."""

    name: ClassVar[str]

    def __post_init__(self):
        if self.shots < 1 or self.queries < 1:
            raise AdaptaxError(f"{type(self).__name__} needs at least one shot and one query.")

    @property
    def numbers(self) -> int:
        """That `features` tells of a task."""
        raise NotImplementedError

    def value(self, task: Any, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """y"""
        raise NotImplementedError

    @property
    def spec(self) -> Spec:
        return Spec(
            self.name,
            (1,),
            Box((-math.inf,), (math.inf,)),
            episode_steps=self.shots,
            features=self.numbers,
            support=self.shots,
        )

    def examples(self, key: Key[Array, ""], task: Any, split: Split) -> Examples:
        queries = self.queries if split == "train" else TEST_QUERIES
        x = jax.random.uniform(key, (self.shots + queries, 1), minval=-REACH, maxval=REACH)
        y = self.value(task, x[:, 0])[:, None]
        return Examples(x[: self.shots], y[: self.shots], x[self.shots :], y[self.shots :])


def _coefficients(key: Key[Array, ""], shape: tuple[int, ...], largest: float, split: Split) -> Array:
    """U[−c, c]; `ood`: from c to 2c away from 0, on either side."""
    if split != "ood":
        return jax.random.uniform(key, shape, minval=-largest, maxval=largest)
    k_size, k_sign = jax.random.split(key)
    return jax.random.rademacher(k_sign, shape) * jax.random.uniform(
        k_size, shape, minval=largest, maxval=2 * largest
    )


class Wave(eqx.Module):
    """A task: y = A sin(x − φ)."""

    amplitude: Array
    phase: Array
    """rad"""


@dataclasses.dataclass(frozen=True)
class Sinusoid(Functions):
    """Sine waves of hidden amplitude and phase: the regression tasks of Finn et al. 2017, §5.1.

    y = A sin(x − φ), A ~ U[0.1, 5], φ ~ U[0, π], x ~ U[−5, 5]; without noise. `ood`: amplitudes from 5 to 10.
    """

    name = "sinusoid"

    @property
    def numbers(self) -> int:
        return 2

    def sample(self, key: Key[Array, ""], split: Split) -> Wave:
        k_amplitude, k_phase = jax.random.split(key)
        low, high = (5.0, 10.0) if split == "ood" else (0.1, 5.0)
        return Wave(
            jax.random.uniform(k_amplitude, minval=low, maxval=high),
            jax.random.uniform(k_phase, maxval=math.pi),
        )

    def value(self, task: Wave, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return task.amplitude * jnp.sin(x - task.phase)

    def features(self, task: Wave) -> Float[Array, " 2"]:
        return jnp.stack([task.amplitude, task.phase])


class Levels(eqx.Module):
    """A task: y = levels[i] between the i-th border and the next."""

    borders: Array
    """Rising."""
    levels: Array


@dataclasses.dataclass(frozen=True)
class Steps(Functions):
    """Constant between hidden borders: borders ~ U[−5, 5], levels ~ U[−3, 3]. `ood`: levels of 3 to 6, either sign."""

    pieces: int = 3
    """Levels; the borders are one fewer."""

    name = "steps"

    def __post_init__(self):
        super().__post_init__()
        if self.pieces < 2:
            raise AdaptaxError(f"Steps needs at least two pieces, not {self.pieces}.")

    @property
    def numbers(self) -> int:
        return 2 * self.pieces - 1

    def sample(self, key: Key[Array, ""], split: Split) -> Levels:
        k_borders, k_levels = jax.random.split(key)
        borders = jax.random.uniform(k_borders, (self.pieces - 1,), minval=-REACH, maxval=REACH)
        return Levels(jnp.sort(borders), _coefficients(k_levels, (self.pieces,), 3.0, split))

    def value(self, task: Levels, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return task.levels[jnp.searchsorted(task.borders, x)]

    def features(self, task: Levels) -> Float[Array, " f"]:
        return jnp.concatenate([task.borders, task.levels])


@dataclasses.dataclass(frozen=True)
class Polynomial(Functions):
    """y = Σ_k c_k (x/5)ᵏ, c_k ~ U[−3, 3]; a task is its coefficients. `ood`: coefficients of 3 to 6, either sign."""

    degree: int = 3
    """The highest power."""

    name = "polynomial"

    def __post_init__(self):
        super().__post_init__()
        if self.degree < 1:
            raise AdaptaxError(f"Polynomial needs a degree of at least 1, not {self.degree}.")

    @property
    def numbers(self) -> int:
        return self.degree + 1

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " c"]:
        return _coefficients(key, (self.degree + 1,), 3.0, split)

    def value(self, task: Float[Array, " c"], x: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.polyval(task[::-1], x / REACH)

    def features(self, task: Float[Array, " c"]) -> Float[Array, " c"]:
        return task


@dataclasses.dataclass(frozen=True)
class Fourier(Functions):
    """y = Σ_k (a_k sin kωx + b_k cos kωx)/k, ω = 2π/10, so that x runs through one period; a, b ~ U[−2, 2].

    A task is [a, b], [2, harmonics]. `ood`: a and b of 2 to 4, either sign.
    """

    harmonics: int = 3
    """Frequencies: k = 1 to so many."""

    name = "fourier"

    def __post_init__(self):
        super().__post_init__()
        if self.harmonics < 1:
            raise AdaptaxError(f"Fourier needs at least one harmonic, not {self.harmonics}.")

    @property
    def numbers(self) -> int:
        return 2 * self.harmonics

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, "2 k"]:
        return _coefficients(key, (2, self.harmonics), 2.0, split)

    def value(self, task: Float[Array, "2 k"], x: Float[Array, " n"]) -> Float[Array, " n"]:
        k = jnp.arange(1, self.harmonics + 1)
        angle = math.pi / REACH * k * x[:, None]
        return jnp.sin(angle) @ (task[0] / k) + jnp.cos(angle) @ (task[1] / k)

    def features(self, task: Float[Array, "2 k"]) -> Float[Array, " f"]:
        return task.reshape(-1)


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
