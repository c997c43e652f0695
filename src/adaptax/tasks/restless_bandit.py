"""Two arms whose probabilities drift while they are pulled, slowly in some tasks and quickly in others."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec


class RestlessState(eqx.Module):
    """Where an episode stands."""

    p: Float[Array, ""]
    """Probability that the first arm pays now; the second one's is 1 − p."""
    elapsed: Int[Array, ""]
    """Pulls made."""


@dataclasses.dataclass(frozen=True)
class RestlessBandit(TaskFamily):
    """The restless bandit of Wang et al. 2016, §3.1.4: arms that pay 1 with probabilities p_t and 1 − p_t, else 0.

        p_0 ~ U[0, 1],    p_{t+1} = p_t + σ ε_t, reflected at 0 and 1,    ε_t ~ N(0, 1)

    A task is its volatility σ, float32: either `low` or `high`, equally likely. To earn much a learner must tell which it is
    from its rewards, and forget the faster the higher it is. The drift goes on from pull to pull, so that a lifetime is ONE
    episode of `pulls` steps. Nothing comes after it: its end is `terminated`. The observation is always 0.

    From the paper: p and 1 − p, 100 pulls, a Gaussian random walk, two kinds of tasks. It prints neither the
    volatilities nor what happens at the borders; these are choices made here. Reflection keeps p_t uniform at
    every t, whatever σ is.

    Training and test tasks have the same two volatilities, with walks of their own. `ood`: σ uniform between two and four
    times `high`.
    """

    low: float = 0.02
    """Standard deviation of a step of the walk in the slow tasks."""
    high: float = 0.1
    """In the quick ones."""
    pulls: int = 100
    """Pulls in a lifetime, all in one episode."""

    def __post_init__(self):
        if not 0 <= self.low < self.high < float("inf") or self.pulls < 1:
            raise AdaptaxError(
                f"A restless bandit needs 0 ≤ low < high, finite, and at least one pull, but it is {self}."
            )

    @property
    def spec(self) -> Spec:
        return Spec(
            name="restless-bandit",
            observation=(1,),
            action=Discrete(2),
            episode_steps=self.pulls,
            features=1,
            shared_tasks=True,
        )

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, ""]:
        if split == "ood":
            return self.high * jax.random.uniform(key, minval=2.0, maxval=4.0)
        return jnp.where(jax.random.bernoulli(key), self.high, self.low)

    def reset(self, key: Key[Array, ""], task: Float[Array, ""]) -> tuple[RestlessState, Float[Array, " 1"]]:
        return RestlessState(jax.random.uniform(key), jnp.int32(0)), jnp.zeros(1)

    def step(
        self, key: Key[Array, ""], state: RestlessState, action: Int[Array, ""], task: Float[Array, ""]
    ) -> tuple[RestlessState, Outcome]:
        k_pay, k_drift = jax.random.split(key)
        pays = jax.random.bernoulli(k_pay, jnp.where(action == 0, state.p, 1 - state.p))
        drifted = reflected(state.p + task * jax.random.normal(k_drift))
        after = RestlessState(drifted, state.elapsed + 1)
        return after, Outcome(
            jnp.zeros(1),
            pays.astype(jnp.float32),
            terminated=after.elapsed >= self.pulls,
            truncated=jnp.array(False),
        )

    def features(self, task: Float[Array, ""]) -> Float[Array, " 1"]:
        """The volatility."""
        return task[None]

    def optimal(self, task: Float[Array, ""]) -> Float[Array, ""]:
        """Of a policy that is told p_t before every pull: E max(p, 1 − p) = 3/4 each, for p_t is uniform.

        Who knows σ alone earns less.
        """
        return jnp.float32(0.75 * self.pulls)


def reflected(x: Float[Array, ""]) -> Float[Array, ""]:
    """A number on the line folded into [0, 1] by mirrors at 0 and 1."""
    folded = jnp.mod(x, 2.0)
    return jnp.minimum(folded, 2.0 - folded)
