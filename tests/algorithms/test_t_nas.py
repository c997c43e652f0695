"""T-NAS: mixtures are mixtures, a decoded cell is the mixture's limit, and weights and mixture go their own step sizes."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Pictures

from adaptax import trees
from adaptax.algorithms.t_nas import TNAS
from adaptax.collection.few_shot import draw_few_shot
from adaptax.errors import AdaptaxError
from adaptax.networks.cell import OPERATIONS, CellNetwork, decoded, most_around
from adaptax.tasks.functions import Sinusoid
from adaptax.training.program import draw_tasks, lifetime_keys, make_program

CELL = ("conv3", "max-pool", "skip")
CONFIG = TNAS(tasks=2, channels=2, cells=1, lr=1e-2)


def check_limit() -> None:
    """A mixture with nearly all its weight on some operations says what the network of these alone says."""
    mixed = CellNetwork((4, 4, 1), 2, 1, 2, (), jax.random.key(0))
    picked = CellNetwork((4, 4, 1), 2, 1, 2, CELL, jax.random.key(0))
    heavy = 50.0 * jnp.array([[o == name for o in OPERATIONS] for name in CELL])
    assert decoded(heavy) == CELL
    mixed = eqx.tree_at(lambda n: n.mixture, mixed, heavy)
    picked = eqx.tree_at(lambda n: n.convolutions["0.0.conv3"], picked, mixed.convolutions["0.0.conv3"])
    x = jax.random.normal(jax.random.key(1), (3, 16))
    features, statistics = mixed.over(x, jnp.ones(3, bool))
    np.testing.assert_allclose(features, picked.over(x, jnp.ones(3, bool))[0], rtol=1e-4, atol=1e-5)
    assert len(statistics) == len(mixed.unread()) == 1 + 2 * 3
    np.testing.assert_allclose(jax.vmap(lambda x: mixed(x, statistics)[0])(x), features, rtol=1e-4, atol=1e-5)


def test_a_decoded_cell_is_the_mixtures_limit():
    check_limit()


def test_the_maximum_around_each_position():
    x = jnp.array([[1.0, 2.0, 0.0], [-5.0, 0.0, -1.0]])[..., None]
    np.testing.assert_array_equal(most_around(x)[..., 0], [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(most_around(-x)[..., 0], [[5.0, 5.0, 1.0], [5.0, 5.0, 1.0]])


def check_rates() -> None:
    """A step moves each parameter by its own rate times the gradient."""
    family = Pictures()
    learner = CONFIG.build(family.spec).learner
    theta = learner.init(jax.random.key(0))
    data = draw_few_shot(
        family,
        draw_tasks(family, jax.random.key(0), "train", 1),
        lifetime_keys(jax.random.key(1), 1),
        "train",
    )
    batch = trees.index(data.support, slice(0, 1))

    @eqx.filter_jit
    def moved(learner):
        before = learner.begin(theta, jax.random.key(2), None)
        after = learner.adapt(theta, before, batch, jax.random.key(3))
        gradient = jax.grad(learner.inner_objective(theta, batch))(before.policy)
        return jax.tree.map(lambda a, b: b - a, before.policy, after.policy), gradient

    Δ, gradient = moved(learner)
    found, slope = Δ.convolutions, gradient.convolutions
    assert jnp.abs(slope.mixture).max() > 1e-4
    np.testing.assert_allclose(found.mixture, -30.0 * slope.mixture, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.stem.weight, -0.1 * slope.stem.weight, rtol=1e-3, atol=1e-5)


def test_weights_and_mixture_go_steps_of_their_own():
    check_rates()


def test_it_learns_and_tells_how_heavy_operations_are():
    family = Pictures()
    algorithm = CONFIG.build(family.spec)
    state = trees.strongly_typed(algorithm.init(jax.random.key(0)))
    dispatch = make_program(family)(algorithm, state, jnp.array(40, jnp.int32))
    assert bool(dispatch.finite)
    losses = np.asarray(dispatch.metrics["loss"])[:40]
    assert losses[-10:].mean() < losses[:10].mean() - 0.05
    weights = [float(dispatch.metrics[f"edge 0: {name}"][39]) for name in OPERATIONS]
    assert sum(weights) == pytest.approx(1.0, abs=1e-5) and max(weights) > 0.251


def test_what_cannot_be_is_told():
    with pytest.raises(AdaptaxError, match="labelled images"):
        TNAS().build(Sinusoid().spec)
    with pytest.raises(AdaptaxError, match="3 operations"):
        TNAS(cell=("skip",)).build(Pictures().spec)
    assert (
        TNAS(cell=CELL).build(Pictures().spec).learner.init(jax.random.key(0)).policy.convolutions.mixture
        is None
    )
