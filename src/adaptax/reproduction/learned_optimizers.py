"""What comparisons of learned with hand-made optimizers share.

Every optimizer goes through the same code: the same random initial networks, the same tasks, the same gradients; only the update
rule differs. The hand-made ones are tuned on training tasks, each over `TRIALS` step sizes, for the very thing that is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from adaptax import keys
from adaptax.adaptation.gradient import FromScratchLearner
from adaptax.adaptation.update_rules import SGD, Adam, Momentum, RMSprop, UpdateRule
from adaptax.tasks.base import Split
from adaptax.training.program import draw_tasks, lifetime_keys
from adaptax.types import Task

TRIALS = 20
"""Step sizes tried for each hand-made optimizer."""
SEED = 20_000

HAND_MADE: dict[str, Callable[[Array], UpdateRule]] = {
    "SGD": SGD,
    "momentum 0.9": lambda lr: Momentum(lr, jnp.array(0.9)),
    "RMSprop": lambda lr: RMSprop(lr, jnp.array(0.9)),
    "Adam": lambda lr: Adam(lr, jnp.array(0.9), jnp.array(0.999)),
}
"""Rules by step size."""


def best_step_size(low: float, high: float, cost: Callable[[float], float]) -> float:
    """Of `TRIALS` from `low` to `high`, evenly on a logarithmic scale."""
    return min((float(lr) for lr in np.geomspace(low, high, TRIALS)), key=cost)


def with_rule(learner: FromScratchLearner, rule: UpdateRule) -> FromScratchLearner:
    """The same learner with another update rule."""
    return dataclasses.replace(learner, rule=rule)


def tasks_of(family: Any, split: Split, number: int) -> tuple[Task, Array]:
    """Tasks and their keys, the same for every optimizer."""
    key = jax.random.key(SEED)
    return draw_tasks(family, keys.evaluation(key, keys.TASKS), split, number), lifetime_keys(
        keys.evaluation(key, keys.LIFETIMES), number
    )
