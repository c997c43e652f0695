"""Where every random number comes from.

The key of a row is a function of (task key, round k, stream n, step t) alone, and so is the same in the JAX
collector, in the host collector, in replay, and under any chunking or sharding of the tasks. Names, not positions, tell the
draws within a row apart, so that a new kind of draw changes no other.
"""

from __future__ import annotations

import jax
from jaxtyping import Array, Int, Key

# What a row's key is used for.
ACT, SAMPLE, STEP, RESET = range(4)

# What a task's or an update's key is used for. Far above any stream number n, with which they share a level.
_BEGIN, _ADAPT = 2**31 + 1, 2**31 + 2
# What a run's key is used for besides its updates, likewise far above their number.
_TRAINING_TASK = 2**31 + 3
TASKS, LIFETIMES, LEARN, BEHAVE = range(4)

_fold = jax.random.fold_in
Scalar = int | Int[Array, ""]


def stream(task_key: Key[Array, ""], k: Scalar, n: Scalar) -> Key[Array, ""]:
    """The key of stream n in round k."""
    return _fold(_fold(task_key, k), n)


def row(stream_key: Key[Array, ""], t: Scalar, purpose: int) -> Key[Array, ""]:
    """The key for one purpose (ACT, SAMPLE, STEP, RESET) in row t of a stream.

    RESET in row t draws the start of the episode that *begins* in row t.
    """
    return _fold(_fold(stream_key, t), purpose)


def begin(task_key: Key[Array, ""]) -> Key[Array, ""]:
    """The key of `Learner.begin` for a task."""
    return _fold(task_key, _BEGIN)


def adapt(task_key: Key[Array, ""], k: Scalar) -> Key[Array, ""]:
    """The key of the adaptation that follows round k."""
    return _fold(_fold(task_key, k), _ADAPT)


def update(run_key: Key[Array, ""], updates: Scalar, purpose: int) -> Key[Array, ""]:
    """The key for one purpose (TASKS, LIFETIMES, LEARN, BEHAVE) in one meta-update."""
    return _fold(_fold(run_key, updates), purpose)


def training_task(run_key: Key[Array, ""], i: Scalar) -> Key[Array, ""]:
    """The key that draws task i of a fixed set of training tasks: the same in every meta-update."""
    return _fold(_fold(run_key, _TRAINING_TASK), i)


def evaluation(key: Key[Array, ""], purpose: int, run_seed: int = 0) -> Key[Array, ""]:
    """The key for one purpose in an evaluation: TASKS, which all learners meet, or LIFETIMES of the learner of one seed."""
    return _fold(_fold(key, purpose), run_seed)
