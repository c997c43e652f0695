"""Choosing among candidates that the observation describes: each is scored by its own row x_a, with the same weights.

    π(a|x, h) ∝ exp(q(h)·x_a)

q says what is sought, given what is remembered (h). A change in the candidates' order changes that of the probabilities and nothing
else (Zaheer et al. 2017, §3).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.networks.layers import MLP
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Candidates, Step


class Scorer(eqx.Module):
    """From what is remembered and the candidates' rows to the logits of π."""

    query: MLP

    def __init__(self, context: int, hidden: tuple[int, ...], space: Candidates, key: Key[Array, ""]):
        self.query = MLP(context, hidden, space.features, key, jax.nn.relu)

    def __call__(self, context: Float[Array, " h"], rows: Float[Array, "n features"]) -> Float[Array, " n"]:
        return rows @ self.query(context)


def in_rows(
    space: Candidates, x: Float[Array, " d"]
) -> tuple[Float[Array, "n features"], Float[Array, " rest"]]:
    """A flattened observation's rows, and what has been appended to it."""
    size = space.n * space.features
    return x[:size].reshape(space.n, space.features), x[size:]


def pooled(rows: Float[Array, "n features"]) -> Float[Array, " pooled"]:
    """What a critic is told of the candidates, whatever their order: entry by entry their mean and their maximum."""
    return jnp.concatenate([rows.mean(0), rows.max(0)])


def pooled_size(space: Candidates) -> int:
    """Length of `pooled`."""
    return 2 * space.features


def choice_inputs(
    space: Candidates, normaliser: Normaliser, step: Step, before: Float[Array, "n features"]
) -> Float[Array, " inputs"]:
    """φ(x₋₁, r₋₁, d₋₁) of those who remember: the row that was chosen among those of `before`, and what came of it, at unit
    scale and about 0; zero where nothing was. (`trial_inputs` would show the choice's number, which tells nothing.)"""
    chosen = in_rows(space, normaliser.observation(before))[0][step.prev_action]
    came = jnp.append(chosen, normaliser.standard_reward(step.prev_reward))
    return jnp.append(jnp.where(step.start, 0.0, came), step.first.astype(jnp.float32))


def choice_inputs_size(space: Candidates) -> int:
    """Length of `choice_inputs`."""
    return space.features + 2
