"""Multi-armed bandits: one pull is one episode, a lifetime is `pulls` pulls of the same arms."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Split, TaskFamily
from adaptax.types import Discrete, Outcome, Spec

Correlated = Literal["uniform", "easy", "medium", "hard"]
_TWO_VALUES = {"easy": 0.1, "medium": 0.25, "hard": 0.4}


class _Pulls(TaskFamily):
    """What all bandits share. A task is the arms' means, float32[arms]; the observation is always 0."""

    pulls: int

    def _check(self, arms: int) -> None:
        if arms < 1 or self.pulls < 1:
            raise AdaptaxError(
                f"A bandit needs at least one arm and one pull, not arms={arms} and pulls={self.pulls}."
            )

    def _spec(self, name: str, arms: int) -> Spec:
        return Spec(
            name=name,
            observation=(1,),
            action=Discrete(arms),
            episode_steps=1,
            episodes=self.pulls,
            features=arms,
        )

    def reset(self, key: Key[Array, ""], task: Float[Array, " arms"]) -> tuple[None, Float[Array, " 1"]]:
        return None, jnp.zeros(1)

    def step(
        self, key: Key[Array, ""], state: None, action: Int[Array, ""], task: Float[Array, " arms"]
    ) -> tuple[None, Outcome]:
        reward = self.draw_reward(key, task[action])
        return None, Outcome(jnp.zeros(1), reward, terminated=jnp.array(True), truncated=jnp.array(False))

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        """One reward of an arm with this mean: 1 with that probability, else 0."""
        return jax.random.bernoulli(key, mean).astype(jnp.float32)

    def features(self, task: Float[Array, " arms"]) -> Float[Array, " arms"]:
        return task

    def optimal(self, task: Float[Array, " arms"]) -> Float[Array, ""]:
        return task.max()


@dataclasses.dataclass(frozen=True)
class _Bandit(_Pulls):
    """Arms of which each is drawn alone."""

    arms: int = 5
    """Arms to choose from."""
    pulls: int = 10
    """Pulls, that is episodes, in a lifetime."""

    def __post_init__(self):
        self._check(self.arms)


@dataclasses.dataclass(frozen=True)
class BernoulliBandit(_Bandit):
    """Arms that pay 1 with probability p_i ~ U[0, 1], else 0 (Duan et al. 2016, RL²).

    `ood`: p_i ~ U[0.4, 0.6], the hard end of Wang et al. 2016. The prior puts arms so close with probability
    0.2^arms; a learner that expects a good arm to be found keeps on looking for one.
    """

    @property
    def spec(self) -> Spec:
        return self._spec("bernoulli-bandit", self.arms)

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " arms"]:
        low, high = (0.4, 0.6) if split == "ood" else (0.0, 1.0)
        return jax.random.uniform(key, (self.arms,), minval=low, maxval=high)


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
        return self._spec("gaussian-bandit", self.arms)

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " arms"]:
        shift = 3.0 if split == "ood" else 0.0
        return self.mean_std * (jax.random.normal(key, (self.arms,)) + shift)

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        return mean + self.noise_std * jax.random.normal(key)


@dataclasses.dataclass(frozen=True)
class CorrelatedBandit(_Pulls):
    """Two arms that pay 1 with probabilities p and 1 − p (Wang et al. 2016, dependent arms I).

    What one arm paid tells of the other too; bandit algorithms for independent arms waste it. The paper's independent arms
    are those of `BernoulliBandit(arms=2)`.

    `ood`: the arms are independent, p_i ~ U[0.5, 1]. That the one pays more often than not says nothing against the other
    any more.
    """

    kind: Correlated = "uniform"
    """Where p comes from. uniform: U[0, 1]. easy, medium, hard: either value, equally likely, of {0.1, 0.9}, of {0.25, 0.75}, of
    {0.4, 0.6}; training and test tasks are then the same two."""
    pulls: int = 100
    """Pulls, that is episodes, in a lifetime."""

    def __post_init__(self):
        self._check(arms=2)
        if self.kind not in get_args(Correlated):
            raise AdaptaxError(f"kind is one of {', '.join(get_args(Correlated))}, not '{self.kind}'.")

    @property
    def spec(self) -> Spec:
        return dataclasses.replace(self._spec("correlated-bandit", 2), shared_tasks=self.kind != "uniform")

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " 2"]:
        if split == "ood":
            return jax.random.uniform(key, (2,), minval=0.5)
        if self.kind == "uniform":
            p = jax.random.uniform(key)
        else:
            p = jnp.where(jax.random.bernoulli(key), _TWO_VALUES[self.kind], 1 - _TWO_VALUES[self.kind])
        return jnp.stack([p, 1 - p])


@dataclasses.dataclass(frozen=True)
class InformativeBandit(_Pulls):
    """Eleven arms of which one, the target, pays 5, and the last one tells which (Wang et al. 2016, dependent arms II).

    Arms 1 to 10 pay 1 but for the target; arm 11 pays a tenth of the target's number. All rewards are deterministic. Arm 11
    never pays more than another, yet whoever pulls it first, and then the target, earns 0.55 + 4 · 5 = 20.55 in 5 pulls on
    average, which is the most that is possible; who goes through arms 1 to 10 until one pays 5 earns 11.

    Training and test tasks are the same ten; there is no `ood`.
    """

    pulls: int = 5
    """Pulls, that is episodes, in a lifetime."""

    def __post_init__(self):
        self._check(arms=11)

    @property
    def spec(self) -> Spec:
        return dataclasses.replace(self._spec("informative-bandit", 11), shared_tasks=True, ood=False)

    def sample(self, key: Key[Array, ""], split: Split) -> Float[Array, " 11"]:
        target = jax.random.randint(key, (), 0, 10)
        return jnp.ones(11).at[target].set(5.0).at[10].set((target + 1) / 10)

    def draw_reward(self, key: Key[Array, ""], mean: Float[Array, ""]) -> Float[Array, ""]:
        return mean
