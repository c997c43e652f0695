"""Planning with a model: of the sequences of actions that are tried in imagination, which is best?

    random shooting   the best of many drawn without looking                         (Nagabandi et al. 2018)
    CEM               a Gaussian is fitted to the best tenth, and drawn from again   (Chua et al. 2018)
    MPPI              the next are drawn about the mean, weighted by exp(return/λ)   (Williams et al. 2017)

A plan is carried over: what was not yet done of it is where the next search begins. With choices instead of real actions there is
shooting alone; `adaptation/tree_search.py` is the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax import trees
from adaptax.adaptation.dynamics_model import Imagination
from adaptax.networks.encoding import zero_action
from adaptax.types import Box, Discrete

Score = Callable[[Array], Float[Array, " n"]]
"""The returns in imagination of sequences of actions [n, H, ...]."""
ELITES = 0.1
"""The share of a generation that CEM fits its next one to."""
LEAST_DEVIATION = 0.05
"""CEM's, in the policy's units: a generation without spread finds nothing."""


class Planner(eqx.Module):
    """Searches for the sequence of actions of most return, for actions that are a `Box` or one choice."""

    space: Box | Discrete = eqx.field(static=True)
    method: Literal["shooting", "cem", "mppi"] = eqx.field(static=True)
    """With choices it is shooting whatever this says."""
    horizon: int = eqx.field(static=True)
    """H: steps looked ahead."""
    candidates: int = eqx.field(static=True)
    """Sequences tried in one generation."""
    generations: int = eqx.field(static=True)
    """Of CEM and MPPI."""
    smoothness: Array
    """β: the share of a step's noise that is the step's before, in CEM and MPPI."""
    temperature: Array
    """MPPI's λ, in units of the returns' standard deviation."""

    def begin(self) -> Array:
        """The plan of an episode that begins: [H, ...], nothing yet."""
        return jnp.broadcast_to(none := zero_action(self.space), (self.horizon, *none.shape))

    def __call__(
        self, imagination: Imagination, obs: Float[Array, " d"], plan: Array, key: Key[Array, ""]
    ) -> Array:
        """The plan [H, ...] from here, its first action being that of now; `plan` is what is left of the one before, `begin()` at
        first."""
        key, k_noise = jax.random.split(key)
        here = jnp.broadcast_to(obs, (imagination.members, *obs.shape))
        return self.search(lambda sequences: imagination.returns(here, sequences, k_noise), plan, key)

    def search(self, score: Score, plan: Array, key: Key[Array, ""]) -> Array:
        if isinstance(self.space, Discrete):
            drawn = jax.random.randint(key, (self.candidates, self.horizon), 0, self.space.n)
            return best(score, drawn, plan)
        if self.method == "shooting":
            return best(
                score, self.clipped(drawn_anywhere(self.space, key, self.candidates, self.horizon)), plan
            )

        def generation(carry: tuple[Array, Array], key: Key[Array, ""]) -> tuple[tuple[Array, Array], None]:
            mean, deviation = carry
            noise = coloured(key, (self.candidates, *mean.shape), self.smoothness)
            # The mean itself is tried too: the search does not lose what it has.
            sequences = self.clipped(mean + deviation * noise.at[0].set(0.0))
            returns = score(sequences)
            if self.method == "mppi":
                return (weighted_mean(sequences, returns, self.temperature), deviation), None
            return elite_moments(sequences, returns), None

        start = plan, jnp.ones_like(plan)
        (mean, _), _ = jax.lax.scan(generation, start, jax.random.split(key, self.generations))
        return mean

    def clipped(self, actions: Float[Array, "... a"]) -> Float[Array, "... a"]:
        """Within the bounds, where there are some."""
        assert isinstance(self.space, Box)
        return jnp.where(jnp.array(self.space.bounded), jnp.clip(actions, -1.0, 1.0), actions)


def left_of(plan: Array) -> Array:
    """What is left of a plan [H, ...] after its first action; the last one is repeated."""
    return jnp.concatenate([plan[1:], plan[-1:]])


def drawn_anywhere(space: Box, key: Key[Array, ""], n: int, horizon: int) -> Float[Array, "n H a"]:
    """Uniform between the bounds; normal where there are none."""
    k_uniform, k_normal = jax.random.split(key)
    shape = (n, horizon, space.size)
    uniform = jax.random.uniform(k_uniform, shape, minval=-1.0, maxval=1.0)
    return jnp.where(jnp.array(space.bounded), uniform, jax.random.normal(k_normal, shape))


def best(score: Score, sequences: Array, plan: Array) -> Array:
    """The best of sequences [n, H, ...] and the plan, which stands in for the first of them."""
    sequences = sequences.at[0].set(plan)
    return sequences[jnp.argmax(score(sequences))]


def coloured(key: Key[Array, ""], shape: tuple[int, ...], β: Array) -> Float[Array, "n H a"]:
    """Noise of unit variance whose steps hang together: x_t = β x_{t−1} + √(1 − β²) ε_t, along axis 1."""
    ε = jnp.moveaxis(jax.random.normal(key, shape), 1, 0)

    def step(x: Array, ε: Array) -> tuple[Array, Array]:
        x = β * x + jnp.sqrt(1.0 - β**2) * ε
        return x, x

    _, rest = jax.lax.scan(step, ε[0], ε[1:])
    return jnp.moveaxis(jnp.concatenate([ε[:1], rest]), 0, 1)


def weighted_mean(
    sequences: Float[Array, "n H a"], returns: Float[Array, " n"], temperature: Array
) -> Float[Array, "H a"]:
    """Σ w x, w ∝ exp((R − max R)/(λ σ_R)): MPPI's step (Williams et al. 2017, eq. 34), whatever the unit of returns."""
    scale = temperature * (returns.std() + 1e-6)
    w = jax.nn.softmax(returns / scale)
    return jnp.tensordot(w, sequences, axes=1)


def elite_moments(
    sequences: Float[Array, "n H a"], returns: Float[Array, " n"]
) -> tuple[Float[Array, "H a"], Float[Array, "H a"]]:
    """Mean and standard deviation, entry by entry, of the best tenth, of two sequences at least."""
    number = max(2, round(ELITES * returns.shape[0]))
    _, places = jax.lax.top_k(returns, min(number, returns.shape[0]))
    elites = trees.index(sequences, places)
    return elites.mean(0), jnp.maximum(elites.std(0), LEAST_DEVIATION)
