"""The examples that an evaluation meets, for what is no learner of this library to meet the same."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax

from adaptax import keys
from adaptax.collection.few_shot import draw_few_shot
from adaptax.evaluation.evaluate import EVALUATION_SEED, test_tasks
from adaptax.tasks.base import Split, SupervisedFamily
from adaptax.training.program import lifetime_keys
from adaptax.types import FewShot


def evaluation_examples(family: SupervisedFamily, split: Split, seed: int, tasks: int) -> FewShot:
    """What `evaluate` draws for a run of this seed; of listed tasks there may be fewer."""
    found = test_tasks(family, split, tasks, EVALUATION_SEED)
    number = len(jax.tree.leaves(found)[0])
    key = keys.evaluation(jax.random.key(EVALUATION_SEED), keys.LIFETIMES, seed)
    return _drawn(family, split, found, lifetime_keys(key, number))


@eqx.filter_jit
def _drawn(family: SupervisedFamily, split: Split, tasks: Any, task_keys: jax.Array) -> FewShot:
    return draw_few_shot(family, tasks, task_keys, split)
