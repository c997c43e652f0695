"""L7: training and test tasks come from one prior and are never the same ones, unless the family says so; `ood` differs."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest
from families import Push
from scipy import stats

from adaptax.tasks.base import SPLITS, HostFamily, JaxFamily
from adaptax.tasks.registry import ENTRIES
from adaptax.training.program import draw_tasks

NUMBER = 400


@eqx.filter_jit
def drawn(family: JaxFamily, number: int):
    """Tasks and their features of each split, all from one key."""
    splits = [split for split in SPLITS if split != "ood" or family.spec.ood]
    tasks = {split: draw_tasks(family, jax.random.key(0), split, number) for split in splits}
    return tasks, {split: jax.vmap(family.features)(t) for split, t in tasks.items()}


def raw(tasks) -> list[bytes]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tasks)]
    return [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(len(leaves[0]))]


def check(family: JaxFamily) -> None:
    tasks, features = drawn(family, NUMBER)
    train, test = raw(tasks["train"]), raw(tasks["test"])
    if not family.spec.shared_tasks:
        assert len(set(train) | set(test)) == 2 * NUMBER, "a task was drawn twice"
    fewer, _ = drawn(family, 3)
    for few, many in zip(jax.tree.leaves(fewer["train"]), jax.tree.leaves(tasks["train"]), strict=True):
        np.testing.assert_allclose(
            few, many[:3], rtol=1e-4, err_msg="a task depends on how many are drawn with it"
        )

    if not family.spec.features:  # classes by number: their index sets are disjoint, and that is all
        return

    def smallest(a, b):  # asymptotic: the exact sum fails where a feature takes few values
        return min(stats.ks_2samp(x, y, method="asymp").pvalue for x, y in zip(a.T, b.T, strict=True))

    values = {split: np.asarray(x) for split, x in features.items()}
    assert values["train"].shape == (NUMBER, family.spec.features)
    assert smallest(values["train"], values["test"]) > 0.01 / family.spec.features, (
        "train and test differ in their prior"
    )
    if family.spec.ood:
        assert smallest(values["train"], values["ood"]) < 1e-6, "ood tasks come from the training prior"


OF_DATA = {name for name, entry in ENTRIES.items() if hasattr(entry.cls, "fingerprint")}
"""Their tasks are what the data hold, and their splits divide the data, not a prior: see tests/supervised and tests/tasks."""


ON_THE_HOST = {name for name, entry in ENTRIES.items() if issubclass(entry.cls, HostFamily)}
"""Their tasks are drawn in numpy: see tests/tasks."""


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in OF_DATA | ON_THE_HOST])
def test_splits_share_a_prior_and_no_task(name):
    family = ENTRIES[name].cls()
    assert not isinstance(family, HostFamily)
    check(family)


@dataclasses.dataclass(frozen=True)
class TwoTasks(Push):
    """Says that train and test share no task, but has two tasks only."""

    def sample(self, key, split):
        return jax.random.bernoulli(key).astype(float)


@dataclasses.dataclass(frozen=True)
class ShiftedTest(Push):
    def sample(self, key, split):
        return super().sample(key, split) + (0.5 if split == "test" else 0.0)


@dataclasses.dataclass(frozen=True)
class NothingOod(Push):
    @property
    def spec(self):
        return dataclasses.replace(super().spec, ood=True)


def test_a_family_that_keeps_its_word_passes():
    check(Push())


@pytest.mark.parametrize(
    "family, says",
    [
        (TwoTasks(), "a task was drawn twice"),
        (ShiftedTest(), "train and test differ in their prior"),
        (NothingOod(), "ood tasks come from the training prior"),
    ],
)
def test_a_family_that_breaks_its_word_is_found_out(family, says):
    with pytest.raises(AssertionError, match=says):
        check(family)
