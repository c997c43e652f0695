"""The random baseline: uniform actions, or standard normal ones (in the policy's units) over a box. It learns nothing."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Key

from adaptax.algorithms.base import Algorithm, require_environments
from adaptax.learner import Learner
from adaptax.networks.distributions import uniform
from adaptax.types import Layout, Lifetime, Metrics, Out, Spec, TrainState


@dataclasses.dataclass(frozen=True)
class RandomPolicy:
    """Acts without looking."""

    def build(self, spec: Spec) -> RandomAlgorithm:
        """The algorithm for a family's spec."""
        require_environments(spec, "The random policy")
        return RandomAlgorithm(spec)


class RandomLearner(Learner):
    spec: Spec = eqx.field(static=True)

    def init(self, key):
        return None

    def act(self, theta, fast, memory, step, key):
        return Out(uniform(self.spec.action, step.action_mask), jnp.zeros(())), memory


class RandomAlgorithm(Algorithm):
    learner: RandomLearner
    layout: Layout = eqx.field(static=True)
    tasks: int = eqx.field(static=True)
    spec: Spec = eqx.field(static=True)

    def __init__(self, spec: Spec):
        self.learner, self.spec, self.tasks = RandomLearner(spec=spec), spec, 1
        self.layout = self.test_layout(None)

    def init(self, key: Key[Array, ""]) -> TrainState:
        return TrainState(None, None, key, jnp.zeros((), jnp.int32))

    def learn(self, state: TrainState, lifetime: Lifetime, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        return state, {}

    def test_layout(self, episodes: int | None) -> Layout:
        episodes = episodes or self.spec.episodes
        return Layout(rounds=1, streams=1, steps=episodes * self.spec.episode_steps, episodes=episodes)
