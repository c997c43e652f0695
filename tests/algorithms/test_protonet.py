"""Prototypical networks by hand."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.algorithms.protonet import ProtoNet
from adaptax.collection.few_shot import few_shot, predict
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples
from adaptax.tasks.functions import Sinusoid
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.types import Discrete, Spec

SPEC = Spec("points", (2,), Discrete(3), episode_steps=4, support=4)
X = jnp.array([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0], [99.0, 99.0]])
Y = jnp.array([0, 0, 2, 1])


def learner_and_theta():
    """The embedding is the identity."""
    learner = ProtoNet(tasks=2, hidden=(2,)).build(SPEC).learner
    theta = learner.init(jax.random.key(0))
    [layer] = theta.embedding.layers
    return learner, eqx.tree_at(lambda t: t.embedding.layers[0].weight, theta, jnp.eye(layer.weight.shape[0]))


def asked(adaptations: int, x: jax.Array) -> np.ndarray:
    """Probabilities of the three classes; the last example of the support only fills up."""
    examples = Examples(X, Y, x, jnp.zeros(len(x), jnp.int32), jnp.array([True, True, True, False]))
    learner, theta = learner_and_theta()
    data = few_shot(SPEC, examples, None, jax.random.key(1))
    return np.asarray(jax.nn.softmax(predict(learner, theta, data, adaptations).dist.logits))


def check_prototypes() -> None:
    """c₀ = (1, 0), c₂ = (5, 5); class 1 was not shown."""
    near, far = np.exp(-1.0), np.exp(-(3.0**2 + 4.0**2))
    expected = [near / (near + far), 0.0, far / (near + far)]
    np.testing.assert_allclose(asked(1, jnp.array([[2.0, 0.0], [2.0, 1.0]]))[0], expected, atol=1e-5)
    [p] = asked(1, jnp.array([[3.0, 2.5]]))  # in the middle between both
    np.testing.assert_allclose(p, [0.5, 0.0, 0.5], atol=1e-5)


def test_a_class_is_the_mean_of_its_examples():
    check_prototypes()


def test_before_any_example_all_classes_are_alike():
    np.testing.assert_allclose(asked(0, X[:1])[0], np.full(3, 1 / 3), atol=1e-5)


def test_what_has_no_classes_is_refused():
    for family in (Sinusoid(), PointNavigation()):
        with pytest.raises(AdaptaxError, match="'protonet' tells classes apart"):
            ProtoNet().build(family.spec)
    for config, what in (
        (ProtoNet(hidden=()), "one layer"),
        (ProtoNet(transductive=True), "transductive"),
        (ProtoNet(max_pool=True), "max_pool"),
    ):
        with pytest.raises(AdaptaxError, match=what):
            dataclasses.replace(config).build(SPEC)
