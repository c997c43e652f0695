"""Multi-armed bandits: one pull is one episode, a lifetime is `pulls` pulls of the same arms."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec


@dataclasses.dataclass(frozen=True)
class _Bandit(TaskFamily):
    """What all bandits share. A task is the arms' means, float32[arms]; the observation is always 0."""

    arms: int = 5
    """Arms to choose from."""
    pulls: int = 10
    """Pulls, that is episodes, in a lifetime."""

    def __post_init__(self):
        if self.arms < 1 or self.pulls < 1:
            raise AdaptaxError(
                f"A bandit needs at least one arm and one pull, not arms={self.arms} and pulls={self.pulls}."
            )

    def _spec(self, name: str) -> Spec:
        return Spec(
            name=name,
            observation=(1,),
            action=Discrete(self.arms),
            episode_steps=1,
            episodes=self.pulls,
            features=self.arms,
        )

    def reset(self, key: Key[Array, ""], task: Float[Array, " arms"]) -> tuple[None, Float[Array, " 1"]]:
        return None, jnp.zeros(1)

    def step(
        self, key: Key[Array, ""], state: None, action: Int[Array, ""], task: Float[Array, " arms"]
    ) -> tuple[None, Outcome]:
        reward = self.draw_reward(key, task[action])
        return None, Outcome(jnp.zeros(1), reward, terminated=jnp.array(True), truncated=jnp.array(False))

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        """One reward of an arm with this mean."""
        raise NotImplementedError

    def features(self, task: Float[Array, " arms"]) -> Float[Array, " arms"]:
        return task

    def optimal(self, task: Float[Array, " arms"]) -> Float[Array, ""]:
        return task.max()


@dataclasses.dataclass(frozen=True)
class BernoulliBandit(_Bandit):
    """Arms that pay 1 with probability p_i ~ U[0, 1], else 0 (Duan et al. 2016, RL²).

    `ood`: p_i ~ U[0.4, 0.6], the hard end of Wang et al. 2016. The prior puts arms so close with probability
    0.2^arms; a learner that expects a good arm to be found keeps on looking for one.
    """

    @property
    def spec(self) -> Spec:
        return self._spec("bernoulli-bandit")

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " arms"]:
        low, high = (0.4, 0.6) if split == "ood" else (0.0, 1.0)
        return jax.random.uniform(key, (self.arms,), minval=low, maxval=high)

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        return jax.random.bernoulli(key, mean).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class GaussianBandit(_Bandit):
    """Arms that pay N(μ_i, noise_std²), with μ_i ~ N(0, mean_std²).

    `ood`: every μ_i is drawn three prior standard deviations higher.
    """

    mean_std: float = 1.0
    """Standard deviation of the arms' means over tasks."""
    noise_std: float = 1.0
    """Standard deviation of an arm's reward about its mean."""

    @property
    def spec(self) -> Spec:
        return self._spec("gaussian-bandit")

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " arms"]:
        shift = 3.0 if split == "ood" else 0.0
        return self.mean_std * (jax.random.normal(key, (self.arms,)) + shift)

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        return mean + self.noise_std * jax.random.normal(key)
