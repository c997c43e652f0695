"""What collect stores is what a plain loop over the environment stores, row by row and key by key."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from laws.experience import collected, mapped, stream_rows
from laws.learners import LAYOUTS, LEARNERS, Case

from adaptax import keys
from adaptax.types import Layout


@jax.jit
def sampled_again(rounds, task_keys):
    """The actions [B, K, N, T] that the stored distributions give under the keys of their rows."""
    b, k, n, t = np.indices(rounds.valid.shape)
    stream = mapped(lambda b, k, n: keys.stream(task_keys[b], k, n), 4)(b, k, n)
    return mapped(lambda d, s, t: d.sample(keys.row(s, t, keys.SAMPLE)), 4)(rounds.dist, stream, t)


def check(case: Case, layout: Layout, tasks: int = 2) -> None:
    lifetime = collected(case, layout)
    again = sampled_again(lifetime.rounds, lifetime.keys)
    rounds = jax.tree.map(np.asarray, lifetime.rounds)
    np.testing.assert_allclose(np.asarray(again)[rounds.valid], rounds.action[rounds.valid], atol=1e-6)

    cut_off = 0
    for i in range(tasks):
        task = jax.tree.map(lambda x, i=i: x[i], lifetime.task)
        for n in range(layout.streams):
            expected = stream_rows(case.family, task, layout, rounds.action[i, :, n], lifetime.keys[i], n)
            for k in range(layout.rounds):
                for t, row in enumerate(expected[k]):
                    at = (i, k, n, t)
                    assert rounds.valid[at] == (row is not None), f"valid at (task, k, n, t) = {at}"
                    for name, value in (row or {}).items():
                        stored = getattr(rounds, name)
                        if value is None:
                            assert stored is None
                        else:
                            np.testing.assert_allclose(
                                stored[at], value, atol=1e-5, err_msg=f"{name} at {at}"
                            )
                cut_off += expected[k][-1] is not None and not (
                    expected[k][-1]["terminated"] or expected[k][-1]["truncated"]
                )
    assert (cut_off > 0) == (layout.episodes is None), "no episode met the end of a budget"


@pytest.mark.parametrize(
    "name, layout",
    [("probe, continuous", layout) for layout in LAYOUTS]
    + [("probe", "episodes"), ("probe", "carry"), ("rl2, masked", "episodes")],
)
def test_collect_stores_what_a_plain_loop_stores(name, layout):
    check(LEARNERS[name], LAYOUTS[layout])
