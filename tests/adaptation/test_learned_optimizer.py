"""The learned optimizer: what it reads, what it keeps, and the hand-made rules that it is compared with."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.adaptation.learned_optimizer import LearnedOptimizer, scaled_gradient
from adaptax.adaptation.update_rules import SGD, Adam, Momentum, RMSprop

LOSS = jnp.array(1.0)
PARAMS = {"a": jnp.array([0.3, -1.0, 2.0, 0.1]), "b": jnp.array([[0.5], [-0.5]])}
GRADIENT = {"a": jnp.array([0.2, -3.0, 1e-7, 0.0]), "b": jnp.array([[40.0], [-0.01]])}


def scrambled_rule(**fields):
    """A rule whose ψ is away from its first value."""
    rule = LearnedOptimizer(jnp.array(0.1), hidden=6, **fields)
    ψ = rule.init(PARAMS, jax.random.key(0))
    leaves, treedef = jax.tree.flatten(ψ)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return rule, jax.tree.unflatten(treedef, moved)


def steps(rule, ψ, params, gradients):
    """The steps on a sequence of gradients, params held."""
    state, found = rule.begin(ψ, params), []
    for gradient in gradients:
        Δ, state = rule.step(ψ, state, params, gradient, LOSS)
        found.append(Δ)
    return found, state


def test_gradients_are_scaled_as_in_the_paper():
    g = jnp.array([1.0, -math.exp(-5.0), math.exp(-11.0), 0.0])
    expected = [[0.0, 1.0], [-0.5, -1.0], [-1.0, math.exp(-1.0)], [-1.0, 0.0]]
    np.testing.assert_allclose(scaled_gradient(g, 10.0), expected, atol=1e-6)
    assert jnp.isfinite(jax.jacobian(lambda g: scaled_gradient(g, 10.0))(g)).all()


@pytest.mark.parametrize("decays", [(), (0.9, 0.5)])
def test_the_order_of_the_coordinates_does_not_matter(decays):
    rule, ψ = scrambled_rule(decays=decays)
    order = jnp.array([2, 0, 3, 1])
    permuted = lambda tree: tree | {"a": tree["a"][order]}  # noqa: E731
    halves = [GRADIENT, jax.tree.map(lambda g: 0.5 * g + 0.1, GRADIENT)]
    plain, _ = steps(rule, ψ, PARAMS, halves)
    other, _ = steps(rule, ψ, permuted(PARAMS), [permuted(g) for g in halves])
    for one, two in zip(plain, other, strict=True):
        np.testing.assert_allclose(two["a"], one["a"][order], rtol=1e-5)
        np.testing.assert_allclose(two["b"], one["b"], rtol=1e-5)
        assert len(np.unique(np.asarray(one["a"]))) == 4


def check_state() -> None:
    """What came before changes a step: through the network's own hidden state, not through momenta alone."""
    rule, ψ = scrambled_rule(decays=(), context=False)
    (first, second), state = steps(rule, ψ, PARAMS, [GRADIENT, GRADIENT])
    assert int(state.t) == 2
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert (np.abs(two - one) > 1e-5).all(), "the same gradient gives the same step"


def test_the_hidden_state_is_carried():
    check_state()


def test_training_begins_with_the_steps_of_adam():
    rule = LearnedOptimizer(jnp.array(0.1), decays=(0.9,))
    learned, _ = steps(rule, rule.init(PARAMS, jax.random.key(0)), PARAMS, [GRADIENT, PARAMS])
    adam = Adam(jnp.array(0.1), jnp.array(0.9), jnp.array(0.999), eps_root=0.0)
    for one, two in zip(learned, steps(adam, None, PARAMS, [GRADIENT, PARAMS])[0], strict=True):
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_inputs_are_constants_for_the_network():
    rule, ψ = scrambled_rule()
    total = lambda x: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(x))  # noqa: E731
    state = rule.begin(ψ, PARAMS)
    through = lambda p, g, ψ: total(rule.step(ψ, state, p, g, LOSS)[0])  # noqa: E731
    of_params, of_gradient, of_ψ = jax.grad(through, (0, 1, 2))(PARAMS, GRADIENT, ψ)
    assert all(not leaf.any() for leaf in jax.tree.leaves((of_params, of_gradient)))
    assert of_ψ.cell.input.weight.any() and of_ψ.head.weight.any()


def test_momentum_and_rmsprop_by_hand():
    p, g = jnp.array([1.0]), [jnp.array([2.0]), jnp.array([-1.0])]
    momentum, _ = steps(Momentum(jnp.array(0.1), jnp.array(0.5)), None, p, g)
    np.testing.assert_allclose(momentum, [[-0.2], [-0.1 * (0.5 * 2.0 - 1.0)]], atol=1e-7)
    rms, _ = steps(RMSprop(jnp.array(0.1), jnp.array(0.5)), None, p, g)
    second = 0.5 * 2.0 + 0.5 * 1.0
    np.testing.assert_allclose(rms, [[-0.2 / math.sqrt(2.0)], [0.1 / math.sqrt(second)]], rtol=1e-5)


@pytest.mark.parametrize(
    "rule", [SGD, lambda lr: Momentum(lr, jnp.array(0.9)), lambda lr: RMSprop(lr, jnp.array(0.9))]
)
def test_hand_made_rules_are_differentiable_where_the_gradient_is_zero(rule):
    made = rule(jnp.array(0.1))

    def after(p):
        return made.step(None, made.begin(None, p), p, 0.0 * p, LOSS)[0].sum()

    assert jnp.isfinite(eqx.filter_grad(after)(jnp.ones(2))).all()
