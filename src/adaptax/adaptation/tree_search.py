"""Tree search with a learned model, for one choice among a few, by DeepMind's `mctx` (the extra `planning`).

    gumbel      Danihelka et al. 2022 ("Policy improvement by planning with Gumbel"): a step is what the members mean together
    stochastic  Antonoglou et al. 2022 (Stochastic MuZero): chance decides, after each choice, which member says what happens

There is no network of values or policies: a leaf at depth d is worth the best of a few random sequences of the H − d steps that
are left, whose first actions are also its prior. So every value in the tree is one of H steps from the root, and a branch that was
looked into further seems no better for it.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.adaptation.dynamics_model import Imagination
from adaptax.errors import AdaptaxError
from adaptax.types import Discrete

PRIOR_TEMPERATURE = 0.1
"""How much more an action must be worth, in the units of returns, to be e times as probable."""


def require_mctx() -> None:
    """AdaptaxError where it is not installed."""
    if importlib.util.find_spec("mctx") is None:
        raise AdaptaxError(
            "Tree search needs the package mctx; install adaptax[planning], or plan by shooting."
        )


def imported() -> Any:
    """mctx, which is loaded when a tree is first searched. Its types know no modules, and so are not looked at."""
    return importlib.import_module("mctx")


class Node(eqx.Module):
    """Where a branch has led: leaves [B, ...] with B = 1, as mctx has it."""

    obs: Float[Array, "*B E d"]
    depth: Int[Array, "*B"]
    action: Int[Array, "*B"]
    """The choice made there, where chance has not yet answered it."""


class TreeSearch(eqx.Module):
    """A planner whose plan is one action long."""

    space: Discrete = eqx.field(static=True)
    method: Literal["gumbel", "stochastic"] = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    """H: steps from the root that count."""
    simulations: int = eqx.field(static=True)
    rollouts: int = eqx.field(static=True)
    """Random sequences that value each action of a leaf."""

    def begin(self) -> Int[Array, " 1"]:
        return jnp.zeros(1, jnp.int32)

    def __call__(
        self, imagination: Imagination, obs: Float[Array, " d"], plan: Array, key: Key[Array, ""]
    ) -> Int[Array, " 1"]:
        """The best action here, as a plan. Nothing of the plan before is used."""
        mctx = imported()
        k_root, k_search = jax.random.split(key)
        zero = jnp.zeros(1, jnp.int32)
        node = Node(jnp.broadcast_to(obs, (1, imagination.members, *obs.shape)), zero, zero)
        value, logits = said_of(self.values(imagination, node, k_root))
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=node)
        if self.method == "gumbel":
            found = mctx.gumbel_muzero_policy(
                imagination, k_search, root, self.together, self.simulations, max_depth=self.horizon, gumbel_scale=0.0
            )  # fmt: skip
        else:
            found = mctx.stochastic_muzero_policy(
                imagination, k_search, root, self.decided, self.answered, self.simulations, max_depth=2 * self.horizon,
                dirichlet_fraction=0.0, temperature=0.0,
            )  # fmt: skip
        return jnp.argmax(found.action_weights, -1).astype(jnp.int32)

    def values(self, imagination: Imagination, node: Node, key: Key[Array, ""]) -> Float[Array, "B n"]:
        """What the H − d steps that are left are worth with each action first: the best of its sequences."""

        def one(node: Node, key: Key[Array, ""]) -> Float[Array, " n"]:
            k_draw, k_noise = jax.random.split(key)
            n = self.space.n
            drawn = jax.random.randint(k_draw, (n, self.rollouts, self.horizon), 0, n)
            sequences = drawn.at[:, :, 0].set(jnp.arange(n)[:, None]).reshape(-1, self.horizon)
            returns = imagination.returns(node.obs, sequences, k_noise, self.horizon - node.depth)
            return returns.reshape(n, self.rollouts).max(1)

        return jax.vmap(one)(node, jax.random.split(key, node.depth.shape[0]))

    def stepped(
        self, imagination: Imagination, node: Node, action: Int[Array, " B"], key: Key[Array, ""]
    ) -> tuple[Node, Float[Array, "B E"], Float[Array, "B E"]]:
        """The node that an action leads to, and of each member the reward and the discount; none beyond the horizon."""

        def one(node: Node, action: Array, noise: Array) -> tuple[Node, Array, Array]:
            obs, reward, goes_on = imagination.step(node.obs, action, noise)
            counts = node.depth < self.horizon
            return Node(obs, node.depth + 1, action), counts * reward, counts * imagination.γ * goes_on

        return jax.vmap(one)(node, action, imagination.noise(key, action.shape[0], imagination.members))

    # --- what mctx asks for ----------------------------------------------------------------------

    def together(self, imagination: Imagination, key: Key[Array, ""], action: Int[Array, " B"], node: Node):
        """A step of all members: their mean."""
        mctx = imported()
        k_step, k_value = jax.random.split(key)
        reached, reward, discount = self.stepped(imagination, node, action, k_step)
        value, logits = said_of(self.values(imagination, reached, k_value))
        said = mctx.RecurrentFnOutput(
            reward=reward.mean(1), discount=discount.mean(1), prior_logits=logits, value=value
        )  # fmt: skip
        return said, reached

    def decided(self, imagination: Imagination, key: Key[Array, ""], action: Int[Array, " B"], node: Node):
        """After a choice, before chance has answered: any member may be the one that does."""
        mctx = imported()
        worth = self.values(imagination, node, key)
        said = mctx.DecisionRecurrentFnOutput(
            chance_logits=jnp.zeros((action.shape[0], imagination.members)),
            afterstate_value=jnp.take_along_axis(worth, action[:, None], 1)[:, 0],
        )
        return said, Node(node.obs, node.depth, action)

    def answered(self, imagination: Imagination, key: Key[Array, ""], member: Int[Array, " B"], node: Node):
        """What the member that chance chose says; all of them are there from now on."""
        mctx = imported()
        k_step, k_value = jax.random.split(key)
        reached, reward, discount = self.stepped(imagination, node, node.action, k_step)
        chosen = lambda x: jax.vmap(lambda x, i: x[i])(x, member)  # noqa: E731
        there = jnp.broadcast_to(chosen(reached.obs)[:, None], reached.obs.shape)
        reached = Node(there, reached.depth, reached.action)
        value, logits = said_of(self.values(imagination, reached, k_value))
        said = mctx.ChanceRecurrentFnOutput(
            action_logits=logits, value=value, reward=chosen(reward), discount=chosen(discount)
        )  # fmt: skip
        return said, reached


def said_of(values: Float[Array, "B n"]) -> tuple[Float[Array, " B"], Float[Array, "B n"]]:
    """A node's value and the logits of its prior, from what each action is worth there."""
    return values.max(-1), values / PRIOR_TEMPERATURE
