"""RL²: fast reinforcement learning via slow reinforcement learning.

Duan et al. 2016 (arXiv 1611.02779); Wang et al. 2016 (arXiv 1611.05763).

A recurrent policy sees φ(o_t, a_{t−1}, r_{t−1}, d_{t−1}) and keeps its memory over the E episodes of a lifetime with one task,
so that what it learns about the task is in its hidden state. Meta-training maximises the discounted return of the
*lifetime*, through episode borders (§2.2):

    max_θ  E_task E_π  Σ_t γᵗ r_t ,     t running over all E episodes.

Good at: tasks that are told apart in a few steps, exploration that pays later, cheap adaptation (one forward pass a step).
Bad at: long lifetimes, and tasks unlike those it was trained on, to which it cannot go on learning.

Where we depart from the paper: PPO instead of TRPO (as in its authors' own later runs), one network with two heads
instead of two networks (`shared=False` is not offered), rewards and observations at unit scale.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.algorithms.base import require_environments
from adaptax.algorithms.memory_ppo import MemoryPPO, MemoryPPOAlgorithm
from adaptax.learner import Learner
from adaptax.networks.encoding import observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.heads import Heads, first_log_std
from adaptax.networks.layers import GRU, Dense
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class RL2(MemoryPPO):
    """RL²: a recurrent policy whose memory outlives the episode, trained by PPO on the return of the lifetime."""

    hidden: int = 64
    """Units of the GRU."""

    def build(self, spec: Spec) -> MemoryPPOAlgorithm:
        """The algorithm for a family's spec."""
        require_environments(spec, "RL²")
        return MemoryPPOAlgorithm(self, spec, RL2Learner(spec=spec, hidden=self.hidden), self.hidden)


class Network(Heads):
    """Theta."""

    gru: GRU


class RL2Learner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: int = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Network:
        k1, k2, k3 = jax.random.split(key, 3)
        return Network(
            gru=GRU(trial_inputs_size(self.spec), self.hidden, k1),
            policy=Dense(self.hidden, self.spec.action.size, 0.01, k2),
            value=Dense(self.hidden, 1, 1.0, k3),
            log_std=first_log_std(self.spec.action),
            normaliser=Normaliser.of(observation_size(self.spec)),
        )

    def remember(self, theta: Network) -> Float[Array, " hidden"]:
        return jnp.zeros((self.hidden,))

    def act(self, theta, fast, memory, step, key):
        h = theta.gru(memory, trial_inputs(self.spec, theta.normaliser, step))
        return theta.say(self.spec.action, h, step), h

    def unroll(self, theta, fast, memory, steps, stream_key):
        x = jax.vmap(lambda s: trial_inputs(self.spec, theta.normaliser, s))(steps)
        hs = theta.gru.unroll(memory, x, steps.valid)
        return jax.vmap(lambda h, s: theta.say(self.spec.action, h, s))(hs, steps), hs[-1]

    def belief(self, theta, fast, memory):
        return memory
