"""A learner on one new supervised task, numpy in and numpy out."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax import keys
from adaptax.collection.few_shot import adapted_to, answers, few_shot
from adaptax.errors import AdaptaxError
from adaptax.learner import Learner
from adaptax.networks.distributions import Categorical
from adaptax.tasks.arrays import as_classes
from adaptax.tasks.base import Examples, SupervisedFamily
from adaptax.types import Discrete, Spec, Theta


class Predictor:
    """What a learner makes of a task's labelled examples: predictions for other inputs."""

    def __init__(
        self, learner: Learner, spec: Spec, theta: Theta, family: SupervisedFamily, x: Any, y: Any, adaptations: int, seed: int
    ):  # fmt: skip
        self.spec = spec
        self._learner, self._theta, self._family, self._read = learner, theta, family, adaptations > 0
        self._x, self._y = _inputs(spec, family, x), _labels(spec, family, y)
        if len(self._x) != len(self._y) or len(self._x) == 0:
            raise AdaptaxError(
                f"There are {len(self._x)} inputs and {len(self._y)} labels; give one label an input, at least one."
            )
        self._key = jax.random.key(seed)
        empty = Examples(self._x, self._y, self._x[:1], self._y[:1])
        data = few_shot(spec, empty, None, self._key)
        begin = learner.begin(theta, keys.begin(self._key), None)
        self._fast = eqx.filter_jit(adapted_to)(learner, theta, data, begin, adaptations)

    def predict(self, x: Any) -> np.ndarray:
        """float[n, d] values of a regression in the user's units, or int[n] the likeliest classes."""
        dist = self._answers(x)
        if isinstance(dist, Categorical):
            return np.asarray(jnp.argmax(dist.logits, -1))
        return self._family.restored(np.asarray(dist.mean))

    def probabilities(self, x: Any) -> np.ndarray:
        """float32[n, classes]; AdaptaxError for a regression."""
        dist = self._answers(x)
        if not isinstance(dist, Categorical):
            raise AdaptaxError("A regression has no probabilities of classes; ask predict(x).")
        return np.asarray(jax.nn.softmax(dist.logits, -1))

    def _answers(self, x: Any) -> Any:
        x = _inputs(self.spec, self._family, x)
        labels = jnp.zeros((len(x), *self._y.shape[1:]), self._y.dtype)
        data = few_shot(self.spec, Examples(self._x, self._y, x, labels), None, self._key)
        return eqx.filter_jit(answers)(self._learner, self._theta, self._fast, data, self._read).dist


def _inputs(spec: Spec, family: SupervisedFamily, x: Any) -> jax.Array:
    x = _numbers(x, "Inputs")
    if x.ndim == len(spec.observation) and spec.observation == (1,):
        x = x[:, None]  # a list of numbers, for inputs of one number
    if x.shape[1:] != spec.observation:
        raise AdaptaxError(
            f"Inputs must have the shape ({', '.join(map(str, ('n', *spec.observation)))}), not {x.shape}."
        )
    if not np.isfinite(x).all():
        raise AdaptaxError("Inputs must be finite numbers, and one is NaN or infinite.")
    return jnp.asarray(family.prepared(x))


def _numbers(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise AdaptaxError(f"{what} must be an array of numbers.") from None


def _labels(spec: Spec, family: SupervisedFamily, y: Any) -> jax.Array:
    if isinstance(spec.action, Discrete):
        y = as_classes(np.asarray(y))
        if (
            y.ndim != 1
            or not np.issubdtype(y.dtype, np.integer)
            or not ((y >= 0) & (y < spec.action.n)).all()
        ):
            raise AdaptaxError(f"Labels must be whole numbers from 0 to {spec.action.n - 1}, one an input.")
        return jnp.asarray(family.prepared_labels(y))
    y = _numbers(y, "Labels")
    y = y.reshape(len(y), math.prod(y.shape[1:])) if y.ndim else y
    if y.ndim != 2 or y.shape[1] != spec.action.size or not np.isfinite(np.asarray(y, np.float64)).all():
        raise AdaptaxError(f"Labels must be finite numbers, {spec.action.size} an input.")
    return jnp.asarray(family.prepared_labels(y), jnp.float32)
