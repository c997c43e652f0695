"""The one abstraction: a learner, in pure functions of its parameters and of two kinds of state."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PyTree

from adaptax import keys, trees
from adaptax.types import Fast, Memory, Out, Step, Theta

QUERY_AXIS = "query"
"""The name of the axis over a supervised task's queries: statistics over it make a prediction *transductive*."""


class Frozen(eqx.Module):
    """A part of theta that gradients do not change (running statistics, say): `learn` writes it last."""


class Learner(eqx.Module):
    """How one task is met. All methods are written for ONE task and ONE stream; batches come from `jax.vmap`.

    *theta* is shared by all tasks and is what meta-training learns. *fast* belongs to a task and is
    written by `adapt` only, between rounds (MAML's adapted weights, PEARL's posterior). *memory* belongs to a stream
    and is written by `act` only, at every step (RL²'s hidden state).

    Sizes, names and functions are static fields; numeric hyperparameters are leaves, so that changing one
    does not recompile and a sweep can vmap them.
    """

    told: bool = eqx.field(static=True, default=False, kw_only=True)
    """True for learners that may see `TaskFamily.features`: the oracle."""
    transductive: bool = eqx.field(static=True, default=False, kw_only=True)
    """True where what is said of a query depends on which others are asked with it: its network is normalised over all of them."""

    def init(self, key: Key[Array, ""]) -> Theta:
        """Parameters before any training."""
        raise NotImplementedError

    def trainable(self, theta: Theta) -> PyTree[bool]:
        """Which leaves gradients may change: the real ones that no `Frozen` part holds."""
        frozen = lambda x: isinstance(x, Frozen)  # noqa: E731
        mark = lambda x: jax.tree.map(lambda _: False, x) if frozen(x) else eqx.is_inexact_array(x)  # noqa: E731
        return jax.tree.map(mark, theta, is_leaf=frozen)

    def begin(self, theta: Theta, key: Key[Array, ""], features: Array | None) -> Fast:
        """The fast state for a new task, of which nothing is known (`features` is None unless `told`)."""
        return None

    def remember(self, theta: Theta) -> Memory:
        """The memory of a new stream, in which nothing has been seen."""
        return None

    def act(
        self, theta: Theta, fast: Fast, memory: Memory, step: Step, key: Key[Array, ""]
    ) -> tuple[Out, Memory]:
        """One step: a distribution over actions, a value, and the next memory. Reads the first fields of `step` only."""
        raise NotImplementedError

    def act_if(
        self,
        theta: Theta,
        fast: Fast,
        memory: Memory,
        step: Step,
        key: Key[Array, ""],
        valid: Bool[Array, ""],
    ) -> tuple[Out, Memory]:
        """`act` in a stream that may stand still: where it is not `valid`, the memory stays and what is said is worth nothing.

        The default chooses between two memories, leaf by leaf. A memory that is large, and of which a step writes little, is better
        written in place.
        """
        out, after = self.act(theta, fast, memory, step, key)
        return out, trees.where(valid, after, memory)

    def unroll(
        self, theta: Theta, fast: Fast, memory: Memory, steps: Step, stream_key: Key[Array, ""]
    ) -> tuple[Out, Memory]:
        """`act` over a stream's rows [T] at once; rows that are not `valid` leave the memory alone.

        The default is a scan of `act`. Networks with a faster way override it (law L5: the same numbers come out).
        """

        def step_once(memory, inputs):
            step, t = inputs
            row_key = keys.row(stream_key, t, keys.ACT)
            out, memory = self.act_if(theta, fast, memory, step, row_key, step.valid)
            return memory, out

        ts = jnp.arange(steps.obs.shape[0])
        memory, outs = jax.lax.scan(step_once, memory, (steps, ts))
        return outs, memory

    def unroll_anew(
        self, theta: Theta, fast: Fast, steps: Step, stream_key: Key[Array, ""]
    ) -> tuple[Out, Memory]:
        """`unroll` of a stream from its first row on. Learners that look back override it: there is nothing yet to look at."""
        return self.unroll(theta, fast, self.remember(theta), steps, stream_key)

    def adapt(self, theta: Theta, fast: Fast, batch: Step, key: Key[Array, ""]) -> Fast:
        """The fast state after one round of experience, Step[N, T]. Differentiable in theta for replayable learners."""
        return fast

    def belief(self, theta: Theta, fast: Fast, memory: Memory) -> Array | None:
        """What is thought of the task, as a vector that reports can draw; None: this learner has no such thing."""
        return None

    def expected_reward(
        self, theta: Theta, fast: Fast, memory: Memory, obs: Array, action: Array, next_obs: Array
    ) -> Array | None:
        """The reward that is expected of a transition, from what is thought of the task; None: rewards are not predicted."""
        return None
