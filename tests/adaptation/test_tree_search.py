"""Tree search: what leaves are worth, and which action is found, in models of one layer."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Push

from adaptax.adaptation.dynamics_model import DynamicsModel, Imagination, Scales
from adaptax.adaptation.tree_search import Node, TreeSearch
from adaptax.algorithms.mrlm import MRLM
from adaptax.errors import AdaptaxError
from adaptax.types import Discrete, Spec

pytest.importorskip("mctx")
SPEC = Spec("walk", (1,), Discrete(3), episode_steps=9)
"""A point on a line; the actions move it by −1, 0 and 1."""
MEMBERS, HORIZON = 2, 4


def walk(pays_position: float = 0.0, pays: float = 0.0) -> Imagination:
    """A step pays `pays`, and so much times the position that it begins in."""
    model = DynamicsModel(SPEC, (), probabilistic=False)
    network = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    weight = jnp.zeros((4, 4)).at[0, 1:].set(jnp.array([-1.0, 0.0, 1.0])).at[1, 0].set(pays_position)
    layer = lambda n: (n.layers[0].weight, n.layers[0].bias)  # noqa: E731
    network = eqx.tree_at(layer, network, (weight, jnp.array([0.0, pays, 0.0, -30.0])))
    networks = jax.tree.map(lambda x: jnp.stack([x] * MEMBERS), network)
    return Imagination(model, networks, Scales.of(SPEC), None, jnp.array(1.0))


def check_leaves() -> None:
    """With 2 a step a leaf at depth d is worth 2 (H − d), whatever is done; beyond the horizon, nothing."""
    search = TreeSearch(Discrete(3), "gumbel", HORIZON, 2, 2)
    for depth in range(HORIZON + 1):
        node = Node(jnp.zeros((1, MEMBERS, 1)), jnp.array([depth]), jnp.array([0]))
        values = search.values(walk(pays=2.0), node, jax.random.key(0))
        np.testing.assert_allclose(values, np.full((1, 3), 2.0 * (HORIZON - depth)), atol=1e-5)
    _, reward, discount = search.stepped(walk(pays=2.0), node, jnp.array([0]), jax.random.key(0))
    assert not reward.any() and not discount.any()


def test_leaves_are_worth_what_is_left_of_the_horizon():
    check_leaves()


@pytest.mark.parametrize("method", ["gumbel", "stochastic"])
@pytest.mark.parametrize(("slope", "best"), [(1.0, 2), (-1.0, 0)])
def test_a_search_goes_where_it_pays(method, slope, best):
    search = TreeSearch(Discrete(3), method, HORIZON, 6, 4)
    plan = eqx.filter_jit(search)(walk(pays_position=slope), jnp.zeros(1), search.begin(), jax.random.key(1))
    assert plan.tolist() == [best]


def test_real_actions_are_no_branches():
    with pytest.raises(AdaptaxError, match="real actions"):
        MRLM(planner="gumbel").build(Push().spec)
