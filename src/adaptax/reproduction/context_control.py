"""Learners that remember or infer on control: VariBAD's gridworld, and PEARL's sparse half circle against environment steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.pearl import PEARL
from adaptax.algorithms.rl2 import RL2
from adaptax.algorithms.varibad import VariBAD
from adaptax.errors import AdaptaxError
from adaptax.evaluation.beliefs import keep_beliefs
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.reports.outcome import Claim, Line, Outcome, Plot
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import Method, difference, in_words, trained
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.tasks.gridworld import GridWorld
from adaptax.tasks.point_navigation import SparsePointNavigation
from adaptax.training.run import Run
from adaptax.training.train import Report

# --- the gridworld -----------------------------------------------------------------------------

GRID_METHODS = (
    Method("varibad", VariBAD(), 1500),
    Method("rl2", RL2(lr=2e-3, gamma=0.95, entropy=0.1, entropy_decay=0.998), 1500),
)
GRID_TASKS = 210
"""Draws of the 21 goals, on which training and test agree (Zintgraf et al. 2020, §5.1)."""
ENOUGH = 0.9
"""The share of the oracle's return to be earned from the third episode on."""


def gridworld(directory: Path, report: Report) -> Outcome:
    """Return of each episode of a lifetime, beside the oracle's."""
    family = GridWorld()
    runs = {m.name: trained(m, family, directory, report) for m in GRID_METHODS}
    most = max(run.env_steps for members in runs.values() for run in members)
    alone = [
        train_as_long(family, most, seed, directory / "multi-task" / f"seed-{seed}", report)
        for seed in range(SEEDS)
    ]
    compromise = evaluate(alone, "test", GRID_TASKS, 1, label="multi-task").curve()[:, :, 0]
    rows, claims = [], []
    for name, members in runs.items():
        result = evaluate(members, "test", GRID_TASKS, label=name)
        result.save(directory / name / "evaluation" / "test.safetensors")
        keep_beliefs(directory / name / "seed-0", members[0])
        curve = result.curve()
        assert result.optimal is not None
        oracle = float(result.optimal.mean())
        gains = [difference(curve[:, :, -1], other) for other in (curve[:, :, 0], compromise)]
        each = " ".join(f"{x:.1f}" for x in curve[:, :, 2:].mean((1, 2)))
        rows.append((name, *(f"{x:.2f}" for x in curve.mean((0, 1))), each, *(in_words(g, 2) for g in gains)))
        late = float(curve[:, :, 2:].mean((0, 1)).min())
        claims += [
            Claim(f"{name} earns {late:.2f} in its third and fourth episodes or more, at least {ENOUGH:.0%} of the oracle's "
                  f"{oracle:.2f}", late >= ENOUGH * oracle),
            Claim(f"{name}: adapted beats its unadapted self by {in_words(gains[0], 2)} and the multi-task learner by "
                  f"{in_words(gains[1], 2)}", min(low for _, low, _ in gains) > 0),
        ]  # fmt: skip
    rows.append(("multi-task", f"{compromise.mean():.2f}", *[""] * 6))
    rows.append(("oracle (exact)", f"{oracle:.2f}", *[""] * 6))
    header = (
        "",
        *(f"episode {e}" for e in range(1, family.episodes + 1)),
        "3 and 4, each seed",
        "− unadapted",
        "− multi-task",
    )
    note = (
        f"Mean return of an episode over {SEEDS} seeds × {GRID_TASKS} draws of the 21 goals, on which the family trains and tests. "
        "Differences of the last episode with 95% intervals."
    )
    table = Table("Gridworld: return of each episode with a hidden goal", header, rows, note)
    return Outcome([table], claims, _folders([*runs.values(), alone]))


# --- the sparse half circle --------------------------------------------------------------------

SPARSE = SparsePointNavigation(reward="peaked")
SPARSE_METHODS = (
    Method(
        "pearl",
        PEARL(
            gamma=0.9, kl=1.0, reward_scale=50.0, meta_batch=16, batch=64, gradient_steps=300, tasks=5, training_tasks=100,
            episodes=12, capacity=4000, hidden=(64, 64), encoder_hidden=(64, 64),
        ),
        130,
    ),
    Method("rl2", RL2(tasks=15, minibatches=3, gamma=0.95, hidden=128), 87),
    Method("maml", MAML(tasks=9, streams=5, hidden=(32, 32), gamma=0.9), 87),
)  # fmt: skip
"""Each for 156,000 environment steps, with the best of the settings that were tried (RL² 9, MAML 12)."""
LONGER = Method("rl2-longer", RL2(tasks=15, minibatches=3, gamma=0.95), 870)
"""Where on-policy learning comes to with ten times as many."""
EXPLORING = 5
"""Episodes before the one that counts."""
SHARES = (0.2, 0.5, 1.0)
"""Of the meta-updates, after which the learners are tested."""
SPARSE_TASKS = 500
SPARSE_SEED = 5
"""The first of the seeds: settings of all methods were chosen with others, on goals of the training split."""
GOAL = 0.8
"""The share of unseen goals to be found."""


def sparse_navigation(directory: Path, report: Report) -> Outcome:
    """Whether the goal is found in the episode after five to explore, against environment steps of meta-training."""
    rows, claims, folders, found, lines, earned = [], [], [], {}, [], []
    for method in (*SPARSE_METHODS, LONGER):
        points, returns = [], []
        for share in SHARES if method in SPARSE_METHODS else (1.0,):
            runs, result = met_after(method, share, directory, report)
            first, last = in_first_and_last(result)
            steps = float(np.mean(result.training_env_steps))
            rows.append(
                (
                    method.name,
                    f"{steps:,.0f}",
                    f"{first.mean():.2f}",
                    _with_interval(last),
                    _each(last),
                    *(_with_interval(result.curve()[:, :, i]) for i in (0, -1)),
                )
            )
            points.append((steps, last.mean(), *statistics.interval(last, "mean")))
            after = result.curve()[:, :, -1]
            returns.append((steps, after.mean(), *statistics.interval(after, "mean")))
        for drawn, of in ((lines, points), (earned, returns)):
            drawn.append(Line(method.name, *(list(map(float, x)) for x in zip(*of, strict=True))))
        result.save(directory / method.name / "evaluation" / "test.safetensors")
        keep_beliefs(directory / method.name / f"seed-{SPARSE_SEED}", runs[0])
        found[method.name] = last
        curve = result.curve()
        folders.append(runs)
        if method.name == "pearl":
            alone = [
                train_as_long(
                    SPARSE, run.env_steps, run.seed, directory / "multi-task" / f"seed-{run.seed}", report
                )
                for run in runs
            ]
            compromise = evaluate(alone, "test", SPARSE_TASKS, 1, label="multi-task")
            gains = [difference(curve[:, :, -1], x[:, :, 0]) for x in (curve, compromise.curve())]
            folders.append(alone)
            claims += [
                Claim(f"pearl finds {last.mean():.0%} of the goals after {EXPLORING} episodes, at least {GOAL:.0%}",
                      last.mean() >= GOAL),
                Claim(f"pearl: adapted beats its unadapted self by {in_words(gains[0], 2)} and the multi-task learner by "
                      f"{in_words(gains[1], 2)} in return", min(low for _, low, _ in gains) > 0),
            ]  # fmt: skip
    _, alone_found = in_first_and_last(compromise)
    rows.append(("multi-task", "as pearl", "", _with_interval(alone_found), _each(alone_found), "", ""))
    for name in ("rl2", "maml"):
        gain = difference(found["pearl"], found[name])
        claims.append(
            Claim(
                f"pearl finds more goals than {name} after as many environment steps: {in_words(gain, 2)}",
                gain[1] > 0,
            )
        )
    header = (
        "",
        "meta-training steps",
        "found in episode 1",
        f"after {EXPLORING} episodes",
        "each seed",
        "return before",
        "return after",
    )
    note = (
        f"Shares of unseen goals that an episode comes within {SPARSE.goal_radius} of, {SEEDS} seeds × {SPARSE_TASKS} goals, and "
        "returns, with 95% intervals. All "
        "learners see the sparse reward; meta-training maximises a peaked one in its place."
    )
    table = Table(
        "Sparse navigation: goals found, against environment steps of meta-training", header, rows, note
    )
    plots = [
        Plot(f"Off-policy beside on-policy: {what}", "environment steps of meta-training", label, drawn)
        for what, label, drawn in (
            ("goals found", "share of goals found", lines),
            ("return after adaptation", f"return of episode {EXPLORING + 1}", earned),
        )
    ]
    return Outcome([table], claims, _folders(folders), plots)


def met_after(method: Method, share: float, directory: Path, report: Report) -> tuple[list[Run], Evaluation]:
    """The runs after a share of their meta-updates or more, and what they did on unseen goals after that share. It is kept: a run
    that has gone on since cannot be taken back."""
    part = dataclasses.replace(method, updates=max(1, round(share * method.updates)))
    path = directory / method.name / "shares" / f"{part.updates}.safetensors"
    runs = trained(part, SPARSE, directory, report, first_seed=SPARSE_SEED)
    if path.exists():
        return runs, Evaluation.load(path)
    if any(run.updates > part.updates for run in runs):
        raise AdaptaxError(
            f"{directory} holds trainings of {method.name} that have gone beyond {part.updates} meta-updates, but not what they "
            "did after these; give another folder."
        )
    result = evaluate(runs, "test", SPARSE_TASKS, _episodes(method), label=method.name)
    result.save(path)
    return runs, result


def in_first_and_last(result: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Success [seeds, tasks] in the first episode and in the last; where several streams run beside one another, their mean."""
    assert result.successes is not None
    s = result.successes.astype(np.float64)  # [seeds, tasks, K, N, E]
    return s[:, :, 0, :, 0].mean(-1), s[:, :, -1, :, -1].mean(-1)


def _episodes(method: Method) -> int:
    """How many episodes the evaluation gives: those to explore and one; MAML's round after adaptation is as wide as the first."""
    return 2 * EXPLORING if method.name == "maml" else EXPLORING + 1


def _each(x: np.ndarray) -> str:
    return " ".join(f"{value:.2f}" for value in x.mean(1))


def _with_interval(x: np.ndarray) -> str:
    """Of [seeds, tasks]."""
    low, high = statistics.interval(x, "mean")
    return f"{x.mean():.2f} [{low:.2f}, {high:.2f}]"


def _folders(groups: Sequence[Sequence[Run]]) -> list[Path]:
    return [run.directory for members in groups for run in members if run.directory is not None]
