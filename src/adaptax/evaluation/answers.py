"""What a learner answers: its classes of the queries of a few tasks, beside the labelled examples that it adapted to."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from adaptax import keys
from adaptax.collection.few_shot import draw_few_shot, predict
from adaptax.evaluation.evaluate import EVALUATION_SEED, check_request, test_tasks
from adaptax.evaluation.observations import keep, kept
from adaptax.reports.summary import AnswersSummary
from adaptax.tasks.base import Split, SupervisedFamily
from adaptax.training.program import lifetime_keys
from adaptax.training.run import Run
from adaptax.types import Discrete

TASKS = 3
"""Tasks that reports draw."""


def observe_answers(
    run: Run, split: Split = "test", adaptations: int | None = None, seed: int = EVALUATION_SEED
) -> AnswersSummary | None:
    """What a learner answers on the first tasks that `evaluate` meets with this seed, the very same examples; None where there
    are no classes."""
    family, learner, theta = run.family, run.algorithm.learner, run.state.theta
    if not isinstance(family, SupervisedFamily) or not isinstance(run.spec.action, Discrete):
        return None
    check_request(family.spec, split, TASKS)
    steps = run.algorithm.test_layout(adaptations).rounds - 1
    tasks = test_tasks(family, split, TASKS, seed)
    number = len(jax.tree.leaves(tasks)[0])  # there may be fewer
    task_keys = lifetime_keys(keys.evaluation(jax.random.key(seed), keys.LIFETIMES, run.seed), number)

    @eqx.filter_jit
    def ask(learner, theta, tasks, task_keys):
        data = draw_few_shot(family, tasks, task_keys, split)
        one = lambda data: jnp.argmax(predict(learner, theta, data, steps).dist.logits, -1)  # noqa: E731
        return data, jax.lax.map(one, data)

    data, answers = ask(learner, theta, tasks, task_keys)
    texts: dict[str, list[list[str]]] = {}
    for i in range(number):
        task = jax.tree.map(lambda leaf, i=i: leaf[i], tasks)
        for name, inputs in (("support_texts", data.support.obs), ("query_texts", data.query.obs)):
            if (words := family.in_words(task, np.asarray(inputs[i]))) is not None:
                texts.setdefault(name, []).append(words[1])
                if name == "support_texts":
                    texts.setdefault("names", []).append(words[0])
    labels = lambda rows: np.where(np.asarray(rows.valid), np.asarray(rows.action), -1)  # noqa: E731
    return AnswersSummary(
        label=run.algorithm_name, split=split, classes=run.spec.action.n,
        support=np.asarray(data.support.obs), support_labels=labels(data.support),
        queries=np.asarray(data.query.obs), query_labels=labels(data.query), answers=np.asarray(answers), **texts,
    )  # fmt: skip


def keep_answers(directory: Path, run: Run, split: Split = "test", adaptations: int | None = None) -> None:
    """Keeps what a run answers beside its evaluations, in DIR/evaluation/answers/SPLIT.safetensors, where there are classes."""
    found = observe_answers(run, split, adaptations)
    if found is not None:
        keep(directory, "answers", found)


def saved_answers(directory: Path) -> list[AnswersSummary]:
    """Those that were kept; AdaptaxError where a file is damaged or something else."""
    return [AnswersSummary(**fields) for fields in kept(directory, "answers")]
