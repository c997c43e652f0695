"""L3: what happens in a task depends on that task and its key alone, and no two draws share a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import Draws
from laws.experience import collected_on, draw
from laws.learners import LAYOUTS, LEARNERS, TASKS, Case, Probe, one_of_each

from adaptax import keys
from adaptax.training.program import lifetime_keys

LAYOUT = LAYOUTS["episodes"]
CHANGED = 1


def check(case: Case) -> None:
    """Another task, or another key, in place CHANGED changes that lifetime and no other."""
    tasks, task_keys = draw(case.family)
    collect = lambda *inputs: collected_on(case.learner, case.family, case.theta, LAYOUT, *inputs).rounds  # noqa: E731
    before = collect(tasks, task_keys)
    other_task = jax.tree.map(lambda x: x.at[CHANGED].set(-x[CHANGED]), tasks)
    other_key = task_keys.at[CHANGED].set(jax.random.key(99))
    for after in (collect(other_task, task_keys), collect(tasks, other_key)):
        for i in range(TASKS):
            one, other = (
                jax.tree.leaves(jax.tree.map(lambda x, i=i: np.asarray(x[i]), r)) for r in (before, after)
            )
            same = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
            assert same == (i != CHANGED), f"task {i} after a change of task {CHANGED}"


def check_keys() -> None:
    """Every draw of every row of every task is another number."""
    family = Draws()
    learner = Probe(spec=family.spec)
    task_keys = lifetime_keys(jax.random.key(5), TASKS)
    for layout in (LAYOUTS["episodes"], LAYOUTS["carry"]):
        rows = collected_on(learner, family, jnp.array(0.7), layout, jnp.zeros(TASKS), task_keys).rounds
        rows = jax.tree.map(lambda x: np.asarray(x, np.float64), rows)
        valid = rows.valid.astype(bool)
        begins = valid & rows.first.astype(bool)
        draws = {
            "reset": rows.obs[begins][:, 0],
            "step": rows.next_obs[valid][:, 1],
            "act": rows.value[valid],
            "sample": ((rows.action - rows.dist.mean) * np.exp(-rows.dist.log_std))[valid][:, 0],
        }
        together = np.concatenate(list(draws.values()))
        assert len(together) > 200 and np.diff(np.sort(together)).min() > 1e-6, "two draws share a key"


@pytest.mark.parametrize(
    "name", one_of_each({name: case for name, case in LEARNERS.items() if "masked" not in name})
)
def test_a_task_changes_its_own_lifetime_only(name):
    check(LEARNERS[name])


def test_no_key_is_used_twice():
    check_keys()


def check_names() -> None:
    """No two names or numbers give the same key."""
    root = jax.random.key(0)
    stream = keys.stream(root, 1, 2)
    every = [
        keys.begin(root),
        keys.adapt(root, 1),
        stream,
        *[keys.stream(root, k, n) for k, n in ((2, 1), (1, 1))],
    ]
    every += [
        keys.row(stream, t, use) for t in (0, 1) for use in (keys.ACT, keys.SAMPLE, keys.STEP, keys.RESET)
    ]
    uses = (keys.TASKS, keys.LIFETIMES, keys.LEARN, keys.BEHAVE)
    every += [keys.update(root, updates, use) for updates in (7, 8) for use in uses]
    every += [keys.training_task(root, i) for i in (7, 8)]
    assert len({jax.random.key_data(key).tobytes() for key in every}) == len(every), (
        "two names give the same key"
    )


def test_keys_of_different_names_differ():
    check_names()
