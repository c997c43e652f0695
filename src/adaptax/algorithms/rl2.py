"""RL²: fast reinforcement learning via slow reinforcement learning.

Duan et al. 2016 (arXiv 1611.02779); Wang et al. 2016 (arXiv 1611.05763).

A recurrent policy sees φ(o_t, a_{t−1}, r_{t−1}, d_{t−1}) and keeps its memory over the E episodes of a lifetime with one task,
so that what it learns about the task is in its hidden state. Meta-training maximises the discounted return of the
*lifetime*, through episode borders (§2.2):

    max_θ  E_task E_π  Σ_t γᵗ r_t ,     t running over all E episodes.

Good at: tasks that are told apart in a few steps, exploration that pays later, cheap adaptation (one forward pass a step).
Bad at: long lifetimes, and tasks unlike those it was trained on, to which it cannot go on learning.

Where we depart from the paper: PPO instead of TRPO (as in its authors' own later runs), one network with two heads
instead of two networks (`shared=False` is not offered), rewards and observations at unit scale; on request a layer before the
memory (`embedding`) and layers between it and the action (`policy_hidden`), another memory cell, other activations. Where the
observation describes the actions (`Candidates`), the memory is told the row of what was chosen, and the policy scores each row
(`networks/candidates.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from adaptax.algorithms.base import require_environments
from adaptax.algorithms.memory_ppo import MemoryPPO, MemoryPPOAlgorithm
from adaptax.learner import Learner
from adaptax.networks.candidates import Scorer, choice_inputs, choice_inputs_size, pooled_size
from adaptax.networks.encoding import observation_size, trial_inputs, trial_inputs_size
from adaptax.networks.heads import Heads, first_log_std
from adaptax.networks.layers import ACTIVATIONS, CELLS, MLP, Activation, Cell, Dense, LayerNorm
from adaptax.networks.normaliser import Normaliser
from adaptax.types import Candidates, Out, Spec, Step


@dataclasses.dataclass(frozen=True)
class RL2(MemoryPPO):
    """RL²: a recurrent policy whose memory outlives the episode, trained by PPO on the return of the lifetime."""

    hidden: int = 64
    """Units of the memory cell."""
    embedding: int = 0
    """Units of a layer between what is seen and the memory cell; 0: none."""
    policy_hidden: tuple[int, ...] = ()
    """Units of the layers between the memory and the action, which find in it what the present state asks for."""
    cell: Literal["gru", "lstm", "mgu"] = "gru"
    """The memory: gated recurrent unit, long short-term memory, or minimal gated unit (Zhou et al. 2016)."""
    activation: Activation = "relu"
    """Of the layers before and after the memory."""
    normalization: Literal["none", "layer"] = "none"
    """"layer": what is read of the memory, and the layers before and after it, are normalised over their units."""

    def build(self, spec: Spec) -> MemoryPPOAlgorithm:
        """The algorithm for a family's spec; AdaptaxError where its tasks are labelled examples."""
        require_environments(spec, "RL²")
        learner = RL2Learner(
            spec=spec, hidden=self.hidden, embedding=self.embedding, policy_hidden=self.policy_hidden, cell=self.cell,
            activation=self.activation, normalized=self.normalization == "layer",
        )  # fmt: skip
        return MemoryPPOAlgorithm(self, spec, learner, max(self.hidden, self.embedding, *self.policy_hidden))


class Network(Heads):
    """Theta."""

    gru: Cell
    """The memory, whichever cell it is."""
    embedding: Dense | None
    norms: tuple[LayerNorm, ...]
    """Of the embedding, where there is one, and of what is read of the memory; none where they are not normalised."""


class Memory(eqx.Module):
    cell: Float[Array, " state"]
    """The memory cell's state."""
    seen: Array | None
    """The last observation, where it tells what the last action was: of `Candidates` alone."""


class RL2Learner(Learner):
    spec: Spec = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    embedding: int = eqx.field(static=True)
    policy_hidden: tuple[int, ...] = eqx.field(static=True)
    cell: str = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    normalized: bool = eqx.field(static=True)

    def init(self, key: Key[Array, ""]) -> Network:
        k1, k2, k3 = jax.random.split(key, 3)
        space = self.spec.action
        if isinstance(space, Candidates):
            n_in, n_value = choice_inputs_size(space), self.hidden + pooled_size(space)
            policy = Scorer(self.hidden, self.policy_hidden, space, k2)
        else:
            n_in, n_value = trial_inputs_size(self.spec), self.hidden
            policy = MLP(
                self.hidden, self.policy_hidden, space.size, k2, ACTIVATIONS[self.activation], normalized=self.normalized
            )  # fmt: skip
        return Network(
            embedding=Dense(n_in, self.embedding, 2.0**0.5, jax.random.fold_in(key, 3))
            if self.embedding
            else None,
            norms=tuple(LayerNorm(n) for n in (self.embedding, self.hidden) if n) if self.normalized else (),
            gru=CELLS[self.cell](self.embedding or n_in, self.hidden, k1),
            policy=policy,
            value=Dense(n_value, 1, 1.0, k3),
            log_std=first_log_std(space),
            normaliser=Normaliser.of(observation_size(self.spec)),
        )

    def remember(self, theta: Network) -> Memory:
        candidates = isinstance(self.spec.action, Candidates)
        return Memory(
            jnp.zeros((theta.gru.state_size,)), jnp.zeros(self.spec.observation) if candidates else None
        )

    def act(self, theta, fast, memory, step, key):
        state = theta.gru(memory.cell, self.inputs(theta, step, memory.seen))
        return self.says(theta, state, step), Memory(state, None if memory.seen is None else step.obs)

    def unroll(self, theta, fast, memory, steps, stream_key):
        before = seen = None
        if memory.seen is not None:
            every = jnp.concatenate([memory.seen[None], steps.obs])
            last = jax.lax.cummax(jnp.where(steps.valid, jnp.arange(1, len(every)), 0))  # of valid rows
            before, seen = every[jnp.append(0, last[:-1])], every[last[-1]]
        x = jax.vmap(lambda s, b: self.inputs(theta, s, b))(steps, before)
        states = theta.gru.unroll(memory.cell, x, steps.valid)
        return jax.vmap(lambda state, s: self.says(theta, state, s))(states, steps), Memory(states[-1], seen)

    def says(self, theta: Network, state: Float[Array, " state"], step: Step) -> Out:
        """Of a memory that has seen the step."""
        h = theta.gru.read(state)
        return theta.say(self.spec.action, theta.norms[-1](h) if self.normalized else h, step)

    def inputs(self, theta: Network, step: Step, before: Array | None) -> Float[Array, " n"]:
        """What the memory cell is given. `before`: `Memory.seen`."""
        if before is None:
            x = trial_inputs(self.spec, theta.normaliser, step)
        else:
            assert isinstance(self.spec.action, Candidates)
            x = choice_inputs(self.spec.action, theta.normaliser, step, before)
        if theta.embedding is None:
            return x
        x = theta.embedding(x)
        return ACTIVATIONS[self.activation](theta.norms[0](x) if self.normalized else x)

    def belief(self, theta, fast, memory):
        return theta.gru.read(memory.cell)
