"""Intent classification without meta-learning: nearest centroid, logistic regression, and a fine-tuned network.

Each says of a task's queries how likely every class is: (support [S, d], its labels, queries [Q, d]) -> [Q, classes].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from adaptax import trees
from adaptax.errors import AdaptaxError
from adaptax.networks.layers import MLP, Dense
from adaptax.tasks.text import Corpus

Classifier = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

HIDDEN = (128,)
PRETRAINING_STEPS, BATCH = 600, 256


def nearest_centroid(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The cosine of a query and the mean of a class's examples, as it is: higher is likelier."""
    centroids = np.stack([x[y == c].mean(0) for c in range(y.max() + 1)])
    unit = lambda v: v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9)  # noqa: E731
    return unit(queries) @ unit(centroids).T


def logistic_regression(strength: float) -> Classifier:
    """scikit-learn's, with `strength` the inverse of its regularisation (C). AdaptaxError where it is not installed."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise AdaptaxError("Logistic regression is scikit-learn's: pip install 'adaptax[text]'.") from None

    def probabilities(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
        fitted = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(x, y)
        return fitted.predict_proba(queries)

    return probabilities


def pretrained(corpus: Corpus, labels: Int[np.ndarray, " m"], seed: int) -> MLP:
    """A network that has learned to tell all of these labels apart, from all their sentences."""
    rows = np.concatenate([corpus.rows[label, : corpus.counts[label]] for label in labels])
    x = corpus.vectors()[rows].astype(jnp.float32)
    y = jnp.asarray(np.repeat(np.arange(len(labels)), corpus.counts[labels]))
    k_network, k_batches = jax.random.split(jax.random.key(seed))
    network = MLP(x.shape[1], HIDDEN, len(labels), k_network, jax.nn.relu)
    optimizer = optax.adam(1e-3)

    def loss(network: MLP, batch: Int[Array, " b"]) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(network)(x[batch]), y[batch]).mean()

    def step(carry, key):
        network, state = carry
        gradient = jax.grad(loss)(network, jax.random.randint(key, (BATCH,), 0, len(x)))
        change, state = optimizer.update(gradient, state)
        return (trees.add(network, change), state), None

    @jax.jit
    def trained(network):
        carry = network, optimizer.init(network)
        return jax.lax.scan(step, carry, jax.random.split(k_batches, PRETRAINING_STEPS))[0][0]

    return trained(network)


def fine_tuning(network: MLP, lr: float, steps: int) -> Classifier:
    """The network with a new last layer, all of it trained by Adam steps on the support."""

    def probabilities(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
        rows = (jnp.asarray(part) for part in (x, y, queries))
        return np.asarray(_fine_tuned(network, jnp.array(lr), steps, int(y.max()) + 1, *rows))

    return probabilities


@eqx.filter_jit
def _fine_tuned(
    network: MLP, lr: Array, steps: int, classes: int, x: Array, y: Array, queries: Array
) -> Array:
    width = network.layers[-1].weight.shape[1]
    head = Dense(width, classes, 0.01, jax.random.key(0))
    start = eqx.tree_at(lambda m: m.layers, network, (*network.layers[:-1], head))
    optimizer = optax.scale_by_adam()

    def loss(network: MLP) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(network)(x), y).mean()

    def step(carry, _):
        network, state = carry
        direction, state = optimizer.update(jax.grad(loss)(network), state)
        return (trees.add(network, trees.scale(-lr, direction)), state), None

    tuned: Any = jax.lax.scan(step, (start, optimizer.init(start)), None, steps)[0][0]
    return jax.nn.softmax(jax.vmap(tuned)(queries), -1)
