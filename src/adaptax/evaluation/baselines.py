"""The rows that stand beside every learner, on the same tasks, with as many environment steps of each.

random         acts without looking
multi-task     one policy for all tasks, trained with as many environment steps as the learner
fine-tune      the same policy, trained on with PPO on the new task
from-scratch   as fine-tune, from an untrained policy: what meta-training is worth
oracle         as multi-task, and told the task, where the family can tell it
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.algorithms.registry import JOINT
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.tasks.base import Split
from adaptax.training.progress import silent
from adaptax.training.run import Run
from adaptax.training.train import Report, resume, train, train_or_resume
from adaptax.types import Layout

ENOUGH = 0.99
"""The share of the learner's environment steps that a baseline must have been trained with."""

POLICY = MultiTask()
FINE_TUNED = MultiTask(fine_tune_steps=20)
TOLD = MultiTask(told=True)


def with_baselines(
    runs: Sequence[Run],
    split: Split,
    tasks: int,
    episodes: int | None,
    directory: Path,
    report: Report,
    modal: bool = False,
) -> list[Evaluation]:
    """The evaluation of a learner's runs (one a seed), and those of its baselines.

    Baselines are trained once, into `directory`/NAME/seed-S, and reused; where the learner was trained on meanwhile, so are
    they. `report` is told the progress of their training. KeyboardInterrupt where that is interrupted; another call goes on.
    """
    learner = evaluate(runs, split, tasks, episodes, modal=modal)
    if learner.supervised:
        return [learner, *_supervised_rows(runs, split, tasks, episodes, directory, report)]
    layout = runs[0].algorithm.test_layout(episodes)
    policies = [_trained(POLICY, run, directory / "multi-task", report) for run in runs]
    # Fine-tuning changes nothing in training, so that its policy is the multi-task one.
    fine_tuned = [dataclasses.replace(run, config=FINE_TUNED, _algorithm=None) for run in policies]
    untrained = [train(FINE_TUNED, run.family, 0, run.seed, report=silent) for run in runs]
    random = [train(RandomPolicy(), run.family, 0, run.seed, report=silent) for run in runs]
    rounds = in_rounds(layout)
    rows = [
        ("random", random, layout),
        ("multi-task", policies, layout),
        ("fine-tune", fine_tuned, rounds),
        ("from-scratch", untrained, rounds),
    ]
    if runs[0].family.spec.features:
        rows.append(("oracle", [_trained(TOLD, run, directory / "oracle", report) for run in runs], layout))
    return [learner] + [
        evaluate(members, split, tasks, layout=layout, family=runs[0].family, modal=modal, label=label)
        for label, members, layout in rows
    ]


def _supervised_rows(
    runs: Sequence[Run], split: Split, tasks: int, adaptations: int | None, directory: Path, report: Report
) -> list[Evaluation]:
    """multi-task, fine-tune and from-scratch on supervised tasks: a network of the learner's size, as many labelled examples."""
    config = runs[0].config
    sized = {name: getattr(config, name) for name in ("tasks", "hidden", "lr") if hasattr(config, name)}
    joint = dataclasses.replace(JOINT, **sized)
    tuned = dataclasses.replace(joint, fine_tune_steps=1)
    policies = []
    for run in runs:
        policies.append(
            train_or_resume(
                joint,
                run.family,
                run.updates,
                run.seed,
                directory / "multi-task" / f"seed-{run.seed}",
                report,
            )
        )
        if policies[-1].updates < run.updates:
            raise KeyboardInterrupt
    rows = [
        ("multi-task", policies),
        ("fine-tune", [dataclasses.replace(run, config=tuned, _algorithm=None) for run in policies]),
        ("from-scratch", [train(tuned, run.family, 0, run.seed, report=silent) for run in runs]),
    ]
    family = runs[0].family
    return [
        evaluate(members, split, tasks, adaptations, family=family, label=label) for label, members in rows
    ]


def in_rounds(layout: Layout) -> Layout:
    """As many episodes as `layout`, in rounds between which a learner can take gradient steps."""
    assert layout.episodes is not None
    if layout.rounds > 1:
        return layout
    steps = layout.steps // layout.episodes
    episodes = layout.streams * layout.episodes
    most = max(1, min(POLICY.streams, episodes // 4))
    streams = next(n for n in range(most, 0, -1) if episodes % n == 0)
    return Layout(rounds=episodes // streams, streams=streams, steps=steps, episodes=1)


def _trained(config: MultiTask, learner: Run, folder: Path, report: Report) -> Run:
    """A baseline of the learner's seed, trained with as many environment steps."""
    family, folder = learner.family, folder / f"seed-{learner.seed}"
    run = train_or_resume(config, family, 0, learner.seed, folder, silent)
    while run.env_steps < ENOUGH * learner.env_steps:
        most = config.tasks * config.streams * family.spec.episode_steps
        per_update = run.env_steps / run.updates if run.updates else most  # episodes may end early
        target = max(run.updates + 1, math.ceil(learner.env_steps / per_update))
        run = resume(folder, target, family, report)
        if run.updates < target:
            raise KeyboardInterrupt
    return run
