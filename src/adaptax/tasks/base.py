"""What a task family is: a distribution over tasks, and the dynamics of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from adaptax.types import Box, Outcome, Spec, Task

Split = Literal["train", "test", "ood"]
SPLITS: tuple[Split, ...] = ("train", "test", "ood")


class Places(eqx.Module):
    """The places of a task that is a map, and a transition that ends in each: what its belief map is drawn from."""

    obs: Float[Array, "rows columns ..."]
    """Row 0 is the lowest; and so below."""
    action: Array
    next_obs: Float[Array, "rows columns ..."]
    """What is observed in the place."""
    reward: Float[Array, "rows columns"]
    """What the transition pays."""


class TaskFamily:
    """A family of related tasks that runs inside JAX.

    Subclasses are frozen dataclasses of plain numbers (their size is part of the program), written for ONE
    task and ONE environment; batches come from `jax.vmap`. Environments never reset themselves: the collector
    resets the *same* task when an episode ends, so that only it can tell an episode border from a task border.

    Splits. A continuous family draws train and test tasks from the same prior with separate keys; a finite
    one from disjoint index sets; where the two coincide the spec says `shared_tasks=True`. `ood` lies outside
    the training support, or the spec says `ood=False`.
    """

    @property
    def spec(self) -> Spec:
        raise NotImplementedError

    def sample(self, key: Key[Array, ""], split: Split) -> Task:
        """Draws one task of a split."""
        raise NotImplementedError

    def reset(self, key: Key[Array, ""], task: Task) -> tuple[Any, Array]:
        """Begins an episode: (environment state, first observation)."""
        raise NotImplementedError

    def step(self, key: Key[Array, ""], state: Any, action: Array, task: Task) -> tuple[Any, Outcome]:
        """One step. `action` is in the environment's units and within bounds."""
        raise NotImplementedError

    def action_mask(self, state: Any, task: Task) -> Array | None:
        """Allowed actions bool[n] in this state, where the spec says `masked`."""
        return None

    def features(self, task: Task) -> Array | None:
        """float32[F]: the hidden task in numbers, for the oracle and for decoders."""
        return None

    def optimal(self, task: Task) -> Array | None:
        """The expected return of one episode under the best policy that knows the task, where computable."""
        return None

    def places(self, task: Task) -> Places | None:
        """Where the task is a map of few places: these, for reports to draw beliefs on."""
        return None


class HostFamily:
    """A family of related tasks whose environments are ordinary Python objects, stepped in worker processes.

    Tasks are any picklable values, drawn in the parent process. `make` runs in a worker.
    """

    maker: Callable[[Task], Any]
    """What makes a task's `collection.workers.HostEnv` in a worker: picklable, of a module that imports no JAX."""
    reports_success: bool = False
    """True where the environments tell success (`Outcome.success`)."""
    workers: int | None = None
    """Worker processes; None: one per processor core; 0: environments step in the calling process."""
    timeout_seconds: float = 60.0
    """The longest that one reset or step may take."""

    @property
    def spec(self) -> Spec:
        raise NotImplementedError

    def sample(self, rng: np.random.Generator, split: Split) -> Task:
        """Draws one task of a split."""
        raise NotImplementedError

    def make(self, task: Task) -> Any:
        """The environment of a task, with Gymnasium's `reset` and `step`."""
        return self.maker(task).env

    def features(self, task: Task) -> np.ndarray | None:
        """float32[F]: the hidden task in numbers, for the oracle."""
        return None

    def optimal(self, task: Task) -> float | None:
        """The expected return of one episode under the best policy that knows the task, where known."""
        return None


class Examples(eqx.Module):
    """Labelled examples of one supervised task."""

    support_x: Float[Array, "S ..."]
    support_y: Array
    """Int[S] classes, or Float[S, d]."""
    query_x: Float[Array, "Q ..."]
    query_y: Array
    support_valid: Bool[Array, " S"] | None = None
    """False in rows that only fill up, after all others; None: all are examples."""
    query_valid: Bool[Array, " Q"] | None = None


class SupervisedFamily:
    """A family of related supervised tasks: few labelled examples of an unseen task, the support, must do.

    Subclasses are written for ONE task. Splits are as those of `TaskFamily`.
    """

    @property
    def spec(self) -> Spec:
        """With `support` set."""
        raise NotImplementedError

    def sample(self, key: Key[Array, ""], split: Split) -> Task:
        """Draws one task of a split."""
        raise NotImplementedError

    def all_tasks(self, split: Split) -> Task | None:
        """All tasks of a split [M], where they are a list of which an evaluation shall meet each once; None: there are others."""
        return None

    def examples(self, key: Key[Array, ""], task: Task, split: Split) -> Examples:
        """Draws a support and a query set of a task; their sizes may depend on the split, not on the task."""
        raise NotImplementedError

    def features(self, task: Task) -> Array | None:
        """float32[F]: the hidden task in numbers, for decoders."""
        return None

    def in_words(self, task: Task, x: np.ndarray) -> tuple[list[str], list[str]] | None:
        """For reports: the names of a task's classes, and its inputs [n, ...] as texts; None: they have none."""
        return None

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """A user's inputs [n, ...] in the scale that learners of this family see."""
        return np.asarray(x, np.float32)

    def prepared_labels(self, y: np.ndarray) -> np.ndarray:
        """A user's labels [n, ...] as learners of this family see them."""
        return np.asarray(y)

    def restored(self, y: np.ndarray) -> np.ndarray:
        """A learner's predictions [n, ...] as the user knows labels."""
        return y


JaxFamily = TaskFamily | SupervisedFamily
"""Families whose tasks are pytrees, drawn inside the jitted program."""
AnyFamily = TaskFamily | SupervisedFamily | HostFamily


def to_environment(space: Any, action: Array) -> Array:
    """From the policy's units to the environment's: `Box` actions are clipped to [-1, 1] and scaled."""
    if not isinstance(space, Box):
        return action
    low, high = jnp.array(space.low), jnp.array(space.high)
    bounded = jnp.array(space.bounded)
    low_, high_ = jnp.where(bounded, low, -1.0), jnp.where(bounded, high, 1.0)
    scaled = low_ + (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0 * (high_ - low_)
    return jnp.where(bounded, scaled, action)
