"""L6: however a run is divided, into dispatches or by a save and a load, the same bits come out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.learners import ALGORITHMS, SUPERVISED, Case, one_of_each

from adaptax.checkpoint import load_checkpoint, save_checkpoint
from adaptax.training.program import Dispatch, make_program
from adaptax.types import TrainState


def saved_and_loaded(state: TrainState) -> TrainState:
    """The state as a checkpoint gives it back; only shapes are known beforehand, as in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        save_checkpoint(path, state)
        return load_checkpoint(path, jax.eval_shape(lambda: state))[0]


def bits(tree) -> list[bytes]:
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return [np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes() for x in jax.tree.leaves(tree)]


def check(case: Case) -> None:
    algorithm = case.algorithm
    assert algorithm is not None
    program = make_program(case.family)
    dispatch = lambda state, count: program(algorithm, state, jnp.array(count, jnp.int32))  # noqa: E731
    start = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    whole = dispatch(start, 4)
    half = dispatch(start, 2)
    resumed = dispatch(saved_and_loaded(half.state), 2)
    uneven = dispatch(dispatch(start, 1).state, 3)

    assert int(whole.done) == 4 and bool(whole.finite) and int(whole.state.updates) == 4
    assert bits(resumed.state) == bits(whole.state), "a save and a load changed the result"
    assert bits(uneven.state) == bits(whole.state), "the division into dispatches changed the result"
    assert bits(half.state) != bits(whole.state) != bits(start)
    rows = lambda d, n: [bits(jax.tree.map(lambda m, i=i: m[i], d.metrics)) for i in range(n)]  # noqa: E731
    assert rows(half, 2) + rows(resumed, 2) == rows(whole, 4)
    assert len({str(row) for row in rows(whole, 4)}) == 4, "two updates saw the same experience"


@pytest.mark.parametrize("name", SUPERVISED)
def test_any_division_of_a_run_on_labelled_examples_gives_the_same_bits(name):
    check(SUPERVISED[name])


@pytest.mark.parametrize("name", one_of_each(ALGORITHMS))
def test_any_division_of_a_run_gives_the_same_bits(name):
    check(ALGORITHMS[name])


def test_a_update_that_is_not_finite_is_not_taken():
    """The state before it comes back, with what went wrong in the metrics."""
    case = ALGORITHMS["multi-task"]
    algorithm = case.algorithm
    assert algorithm is not None
    start = eqx.filter_jit(algorithm.init)(jax.random.key(0))
    broken = jax.tree.map(lambda x: x, algorithm)
    object.__setattr__(broken, "lr", jnp.array(jnp.nan))
    result: Dispatch = make_program(case.family)(broken, start, jnp.array(4, jnp.int32))
    assert int(result.done) == 0 and not bool(result.finite)
    assert bits(result.state) == bits(start)
