"""What learners with a critic say of their features: a policy, and a value in the units of returns."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from adaptax.networks.candidates import Scorer, in_rows, pooled
from adaptax.networks.distributions import from_outputs
from adaptax.networks.layers import MLP, Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Candidates, Out, Space, Step

FIRST_LOG_STD = -0.5
"""Of continuous actions, before training."""


class Heads(eqx.Module):
    """The part of theta that turns features into π(·|x) and V(x)."""

    policy: Dense | MLP | Scorer
    value: Dense | MLP
    """In the units of `normaliser`."""
    log_std: Float[Array, " n"]
    """Of `Box` actions; the same everywhere."""
    normaliser: Normaliser

    def say(self, space: Space, features: Float[Array, " width"], step: Step) -> Out:
        """The distribution over actions, and V in the units of returns."""
        if isinstance(self.policy, Scorer):
            assert isinstance(space, Candidates)
            rows, _ = in_rows(space, self.normaliser.observation(step.obs))
            outputs, features = self.policy(features, rows), jnp.concatenate([features, pooled(rows)])
        else:
            outputs = self.policy(features)
        dist = from_outputs(space, outputs, self.log_std, step.action_mask)
        return Out(dist, self.normaliser.to_value(self.value(features)[0]))


def first_log_std(space: Space) -> Float[Array, " n"]:
    """`Heads.log_std` before training."""
    return jnp.full((space.size,), FIRST_LOG_STD, jnp.float32)
