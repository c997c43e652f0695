"""Model-based meta-RL on a task that changes in mid-episode: what the change costs, and what is left of it at last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from adaptax import keys, trees
from adaptax.adaptation.planning import Score, left_of
from adaptax.algorithms.mrlm import MRLM
from adaptax.chunks import map_tasks
from adaptax.evaluation.evaluate import EVALUATION_SEED, evaluation_keys, test_tasks
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import TASKS, Method, difference, in_words, trained
from adaptax.reproduction.lifetimes import on_unseen_tasks
from adaptax.tasks.base import TaskFamily, to_environment
from adaptax.tasks.pendulum import Pendulum
from adaptax.tasks.perturbed import Perturbed
from adaptax.training.run import Run
from adaptax.training.train import Report
from adaptax.types import Layout, Task

CHANGES = {
    "the actuator is turned round": ("gain", -1.0),
    "the actuator is weakened to 40%": ("gain", 0.4),
    "the mass doubles": ("mass", 2.0),
}
LASTING = Pendulum(horizon=600)
CHANGE_AT = 200
PHASE = 100
"""Steps over which returns are told."""
EVERY = 20
"""Steps between fits."""
WINDOW = 80
"""Steps fitted to, the newest."""
TRAINED_ON = Pendulum(gain=(0.3, 1.3))
"""None of these pendulums changes, and some of their actuators are as weak as one that has lost strength, or that moves a greater
mass: a fit finds what is like something that meta-training has shown."""
ONLINE = Method("mrlm-online", MRLM(adapt_every=EVERY, window=WINDOW, query=20), 5)
OFTEN, SELDOM = f"fitted every {EVERY} steps", f"fitted every {CHANGE_AT} steps"
WAYS = {
    name: Layout(LASTING.horizon // every, 1, every, episodes=1, carry=True)
    for name, every in ((OFTEN, EVERY), (SELDOM, CHANGE_AT))
}
TOLD = f"true physics, told {EVERY} steps late"
"""Of the change: as the first fit after it could be."""
RECOVERED = 0.1
"""The share of what a change costs in the steps that follow it that may still be missing at last, with 95% confidence."""


def mrlm_perturbation(directory: Path, report: Report) -> Outcome:
    """A pendulum that changes in mid-episode: what that costs, and what is left of it with fits that come often and seldom.

    Beside them the same planner with the true physics, told of the change when a fit could first know of it: what is missing
    there is no model's fault.
    """
    runs = trained(ONLINE, TRAINED_ON, directory, report)
    found = {}
    for change, (parameter, factor) in CHANGES.items():
        family = Perturbed(LASTING, parameter, factor, at=CHANGE_AT)
        found[change] = {way: phases(runs, family, layout) for way, layout in WAYS.items()}
        found[change][TOLD] = told(runs, family, late=EVERY)
    steps = float(np.mean([run.env_steps for run in runs]))
    return recovery(found, steps) + Outcome([], [], [run.directory for run in runs if run.directory])


def recovery(found: dict[str, dict[str, np.ndarray]], steps: float) -> Outcome:
    """`found`: of each change and way, returns [seeds, tasks, phases]."""
    tables, claims = [], []
    weakest, strongest = TRAINED_ON.gain
    for change, ways in found.items():
        often, seldom = ways[OFTEN], ways[SELDOM]
        seeds, tasks, number = often.shape
        struck = CHANGE_AT // PHASE
        shown = []
        for way, returns in ways.items():
            lead = "" if returns is often else in_words(difference(often[:, :, -1], returns[:, :, -1]))
            shown.append((way, *(f"{x:.1f}" for x in returns.mean((0, 1))), lead))
        tables.append(
            Table(
                f"Pendulum of which {change} at step {CHANGE_AT}: mrlm, {seeds} seeds × {tasks} unseen tasks",
                ("", *(f"steps {i * PHASE}–{(i + 1) * PHASE}" for i in range(number)), "lead at last"),
                shown,
                f"Return of {PHASE} steps. The model, meta-trained with {steps:,.0f} steps on pendulums that do not change, with "
                f"actuators of strength {weakest:g} to {strongest:g}, is fitted to the newest {WINDOW} steps. True physics: the "
                "same planner with them in the model's place. Lead: of fits that come often, with its 95% interval.",
            )
        )
        before, after, last = (often[:, :, i] for i in (struck - 1, struck, -1))
        cost, missing, gain = (
            difference(*pair) for pair in ((before, after), (before, last), (last, seldom[:, :, -1]))
        )
        beyond = difference(before - RECOVERED * (before - after), last)
        claims += [
            Claim(
                f"{change}: it costs {in_words(cost)} in the next {PHASE} steps, of which with fits that come often "
                f"{in_words(missing)} is missing in the last {PHASE}: it has recovered",
                cost[0] > 0 and beyond[2] <= 0,
            ),
            Claim(
                f"{change}: in the last {PHASE} steps fits that come often are worth {in_words(gain)}",
                gain[1] > 0,
            ),
        ]
    return Outcome(tables, claims, [])


def phases(runs: Sequence[Run], family: Perturbed, layout: Layout) -> np.ndarray:
    """[seeds, tasks, phases]: the return of each `PHASE` steps of one episode."""
    paid = lambda learner, theta, rounds, fast: by_phase(rounds.reward)  # noqa: E731
    return on_unseen_tasks(paid, runs, family, layout, TASKS)


def by_phase(rewards: Float[Array, "..."]) -> Float[Array, " phases"]:
    """The return of each `PHASE` steps."""
    return rewards.reshape(-1, PHASE).sum(-1)


def told(runs: Sequence[Run], family: Perturbed, late: int) -> np.ndarray:
    """As `phases`, of the runs' planner with the true physics in the model's place, which is told of the change so many steps late.

    It begins where the runs' learners begin.
    """
    learner: Any = runs[0].algorithm.learner
    space = family.spec.action
    tasks = test_tasks(family, "test", TASKS, EVALUATION_SEED)

    def one_task(inputs):
        task, key = inputs
        key = keys.stream(key, 0, 0)

        def row(carry, t):
            state, plan = carry
            believed = trees.where(t >= family.at + late, family.changed(task), task)
            score = simulated(family.family, believed, state[0], keys.row(key, t, keys.STEP))
            plan = learner.planner.search(score, left_of(plan), keys.row(key, t, keys.ACT))
            action = learner.around(plan[0], learner.noise).sample(keys.row(key, t, keys.SAMPLE))
            action = to_environment(space, action)
            state, outcome = family.step(keys.row(key, t, keys.STEP), state, action, task)
            return (state, plan), outcome.reward

        state, _ = family.reset(keys.row(key, 0, keys.RESET), task)
        start = state, learner.planner.begin()
        return by_phase(jax.lax.scan(row, start, jnp.arange(family.spec.episode_steps))[1])

    played = jax.jit(lambda task_keys: map_tasks(one_task, (tasks, task_keys), TASKS))
    return np.stack([played(evaluation_keys(EVALUATION_SEED, run.seed, TASKS)) for run in runs])


def simulated(family: TaskFamily, task: Task, state: Any, key: Key[Array, ""]) -> Score:
    """What sequences of actions [n, H, ...] pay from a state on, in the family itself; of episodes that do not terminate."""

    def one(sequence: Array) -> Float[Array, ""]:
        def step(state: Any, action: Array) -> tuple[Any, Array]:
            state, outcome = family.step(key, state, to_environment(family.spec.action, action), task)
            return state, outcome.reward

        return jax.lax.scan(step, state, sequence)[1].sum()

    return jax.vmap(one)
