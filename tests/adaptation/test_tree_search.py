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


def disagreeing() -> Imagination:
    """An action moves the point as it says and pays 1; so says the first member, and the second three times as much of both."""
    alike = walk(pays=1.0)
    layer = lambda i: (i.networks.layers[0].weight, i.networks.layers[0].bias)  # noqa: E731
    return eqx.tree_at(layer, alike, replace_fn=lambda x: x.at[1, :3].multiply(3.0))


def check_members() -> None:
    """Together they say the mean, and each goes on from where it says that it is; where chance chooses one, all are where that
    one says, and what it pays is paid."""
    search, imagination, key = (
        TreeSearch(Discrete(3), "gumbel", HORIZON, 2, 2),
        disagreeing(),
        jax.random.key(0),
    )
    right = jnp.array([2])
    node = Node(jnp.zeros((1, MEMBERS, 1)), jnp.array([0]), right)
    said, reached = search.together(imagination, key, right, node)
    np.testing.assert_allclose(said.reward, [2.0], atol=1e-5)
    np.testing.assert_allclose(reached.obs[0, :, 0], [1.0, 3.0], atol=1e-5)
    np.testing.assert_allclose(said.value, [2.0 * (HORIZON - 1)], atol=1e-4)

    said, reached = search.decided(imagination, key, right, node)
    np.testing.assert_array_equal(jax.nn.softmax(said.chance_logits), [[0.5, 0.5]])
    np.testing.assert_allclose(said.afterstate_value, [2.0 * HORIZON], atol=1e-4)
    assert eqx.tree_equal(reached, node), "nothing has happened yet"
    for member, threefold in enumerate((1.0, 3.0)):
        said, after = search.answered(imagination, key, jnp.array([member]), reached)
        np.testing.assert_allclose(said.reward, [threefold], atol=1e-5)
        np.testing.assert_allclose(after.obs[0, :, 0], [threefold] * MEMBERS, atol=1e-5)
        assert after.depth.tolist() == [1]


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


def test_members_that_disagree_are_asked_together_or_one_by_one():
    check_members()


@pytest.mark.parametrize("method", ["gumbel", "stochastic"])
@pytest.mark.parametrize(("slope", "best"), [(1.0, 2), (-1.0, 0)])
def test_a_search_goes_where_it_pays(method, slope, best):
    search = TreeSearch(Discrete(3), method, HORIZON, 6, 4)
    plan = eqx.filter_jit(search)(walk(pays_position=slope), jnp.zeros(1), search.begin(), jax.random.key(1))
    assert plan.tolist() == [best]


def test_real_actions_are_no_branches():
    with pytest.raises(AdaptaxError, match="real actions"):
        MRLM(planner="gumbel").build(Push().spec)
