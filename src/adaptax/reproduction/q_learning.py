"""Q-learning: DQN on a single CartPole, and MAML-DQN beside its rivals at equal environment steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.algorithms.dqn import DQN
from adaptax.algorithms.maml_dqn import MAMLDQN
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.rl2 import RL2
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import TASKS, Method, difference, in_words, trained
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.tasks.base import TaskFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.cartpole_mountain_car import CartPoleMountainCar
from adaptax.tasks.mountain_car import MountainCar
from adaptax.training.progress import silent
from adaptax.training.run import Run
from adaptax.training.train import Report, train

# --- one task ----------------------------------------------------------------------------------

CARTPOLE_V1 = CartPole(
    gravity=(9.8, 9.8), masscart=(1.0, 1.0), masspole=(0.1, 0.1), length=(0.5, 0.5), force=(10.0, 10.0), flip_probability=0.0
)  # fmt: skip
"""Gymnasium's `CartPole-v1`: a family of one task."""
ALONE = Method("dqn", DQN(tasks=1, gradient_steps=250, anneal_steps=200_000), 400)
STEPS = 200_000
"""Environment steps within which it is to be learned."""
SOLVED = 450.0


def dqn_cartpole(directory: Path, report: Report) -> Outcome:
    """DQN on `CartPole-v1`: five seeds, 100 episodes of each."""
    runs = trained(ALONE, CARTPOLE_V1, directory, report)
    greedy, exploring = (
        evaluate(runs, "test", TASKS, 1, modal=modal, label="dqn") for modal in (True, False)
    )
    greedy.save(directory / "dqn" / "evaluation" / "test.safetensors")
    rows = [
        (
            f"{run.seed}",
            f"{run.env_steps:,}",
            f"{best.mean():.1f}",
            f"{sampled.mean():.1f}",
            f"{run.seconds:.0f} s",
        )
        for run, best, sampled in zip(runs, greedy.scores(), exploring.scores(), strict=True)
    ]
    iqm = greedy.iqm()
    low, high = statistics.interval(greedy.scores(), over="seeds")
    most = max(run.env_steps for run in runs)
    table = Table(
        "CartPole-v1, at most 500 steps: DQN",
        ("seed", "environment steps", "greedy", f"ε = {ALONE.config.last_epsilon:g}", "training"),  # type: ignore[attr-defined]
        rows,
        f"Mean return of {TASKS} episodes after training. Greedy: interquartile mean {iqm:.1f} [{low:.1f}, {high:.1f}].",
    )
    claim = Claim(
        f"dqn: interquartile mean of {SEEDS} seeds {iqm:.1f} after {most:,} environment steps, at least {SOLVED:g}",
        iqm >= SOLVED and most <= STEPS,
    )
    return Outcome([table], [claim], [run.directory for run in runs if run.directory])


# --- MAML-DQN ----------------------------------------------------------------------------------

EPISODES = (0, 1, 2, 5, 10)
"""Of the new task, after which learners are compared."""
FEW = 2
"""Episodes after which MAML-DQN must be ahead: with enough of them learning from scratch gets there too."""
BY_FEW = EPISODES.index(FEW)
ORACLE = 4
"""Times as many environment steps as the others have."""
CARS = "cars"
TUNED, SCRATCH = "dqn-fine-tuned", "dqn-from-scratch"


ORACLE_BEYOND = -140.0
"""The least return of an oracle on mountain cars: a table whose every row is at −200 says nothing."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """MAML-DQN on a family, and how its rivals are made there."""

    title: str
    family: TaskFamily
    methods: tuple[Method, ...]
    """MAML-DQN; others beside it are its variants, trained for as many environment steps."""
    rivals: tuple[tuple[str, Config], ...]
    """The first is DQN that is fine-tuned. Trained for as many environment steps; the oracle, which shows what can be reached at
    all, for `ORACLE` times as many."""
    parts: tuple[tuple[str, TaskFamily], ...] = ()
    """Kinds of tasks that are to be told apart; none: they are all of one kind."""


def rivals(gamma: float, sees_shaped: bool = False) -> tuple[tuple[str, Config], ...]:
    """Multi-task DQN, fine-tuned on the new task (after 0 episodes it is the multi-task one itself), RL², and the policy that is
    told the task."""
    dqn = DQN(
        hidden=(64, 64), gradient_steps=200, gamma=gamma, last_epsilon=0.05, fine_tune_steps=100, sees_shaped=sees_shaped
    )  # fmt: skip
    return (
        (TUNED, dqn),
        ("rl2", RL2(tasks=16)),
        ("oracle", MultiTask(told=True, tasks=16, streams=1)),
    )


def compared(problem: Comparison, directory: Path, report: Report) -> Outcome:
    """Return of the episode after 0, 1, 2, 5 and 10 episodes of an unseen task."""
    family, (first, *variants) = problem.family, problem.methods
    runs = {first.name: trained(first, family, directory, report)}
    for name, config in (*((m.name, m.config) for m in variants), *problem.rivals):
        times = ORACLE if name == "oracle" else 1
        runs[name] = [
            train_as_long(family, times * run.env_steps, run.seed, directory / name / f"seed-{run.seed}", report, config)
            for run in runs[first.name]
        ]  # fmt: skip
    runs[SCRATCH] = [from_scratch(run, family) for run in runs[TUNED]]
    tables, claims = [], []
    for kind, part in problem.parts or (("", family),):
        curves = {
            name: after_episodes(members, part, name, directory, kind) for name, members in runs.items()
        }
        steps = {name: float(np.mean([run.env_steps for run in members])) for name, members in runs.items()}
        title, of_kind = (f"{problem.title}, {kind}", f" on {kind}") if kind else (problem.title, "")
        tables.append(table(title, curves, steps))
        claims.append(claim(f"{first.name}{of_kind}", curves))
        claims += [learns(f"{m.name}{of_kind}", curves[m.name], curves[TUNED][:, :, 0]) for m in variants]
        if kind == CARS or isinstance(part, MountainCar):
            earned = curves["oracle"][:, :, 0].mean()
            said = f"the oracle{of_kind} earns {earned:.1f}, above {ORACLE_BEYOND:g}, after training on the shaped reward (energy)"
            claims.append(Claim(said, earned > ORACLE_BEYOND))
    folders = [run.directory for members in runs.values() for run in members if run.directory]
    return Outcome(tables, claims, folders)


def from_scratch(run: Run, family: TaskFamily) -> Run:
    """A network that has learned nothing, told no more of the family than the units of its observations. It takes more and longer
    steps than one that is fine-tuned, with which it comes further in ten episodes (tried on training tasks)."""
    assert isinstance(run.config, DQN)
    config = dataclasses.replace(run.config, fine_tune_steps=400, fine_tune_copy_every=50, lr=2e-3)
    blank = train(config, family, 0, run.seed, report=silent)
    theta = dataclasses.replace(blank.state.theta, normaliser=run.state.theta.normaliser)
    blank.state = dataclasses.replace(blank.state, theta=theta)
    return blank


def table(title: str, curves: dict[str, np.ndarray], steps: dict[str, float]) -> Table:
    """A row for each learner, the first being the one whose lead is told."""
    first, *_ = curves
    rows = []
    for name, curve in curves.items():
        leads = (in_words(difference(curves[first][:, :, at], curve[:, :, at])) for at in (BY_FEW, -1))
        means = (f"{x:.1f}" for x in curve.mean((0, 1)))
        rows.append((name, *means, *(lead if name != first else "" for lead in leads), f"{steps[name]:,.0f}"))
    header = (
        "",
        *(f"after {e}" for e in EPISODES),
        f"lead after {FEW}",
        f"lead after {EPISODES[-1]}",
        "training steps",
    )
    note = (
        f"Mean return of an episode after so many of the new task, over {SEEDS} seeds × {TASKS} unseen tasks. Lead: of {first} "
        "over this learner, with its 95% interval."
    )
    return Table(title, header, rows, note)


def claim(name: str, curves: dict[str, np.ndarray]) -> Claim:
    """After a few episodes the first learner is ahead of itself before them, of multi-task DQN, and of DQN that has had as many."""
    mine = next(iter(curves.values()))
    others = {"its unadapted self": mine[:, :, 0], "multi-task dqn": curves[TUNED][:, :, 0]}
    others |= {rival: curves[rival][:, :, BY_FEW] for rival in (TUNED, SCRATCH)}
    gains = {other: difference(mine[:, :, BY_FEW], curve) for other, curve in others.items()}
    said = ", ".join(f"{other} by {in_words(gain)}" for other, gain in gains.items())
    return Claim(
        f"{name}: after {FEW} episodes it beats {said}", min(low for _, low, _ in gains.values()) > 0
    )


def learns(name: str, curve: np.ndarray, multi_task: np.ndarray) -> Claim:
    """After a few episodes a variant is ahead of itself before them, and of multi-task DQN."""
    gains = [difference(curve[:, :, BY_FEW], other) for other in (curve[:, :, 0], multi_task)]
    return Claim(
        f"{name}: after {FEW} episodes it beats its unadapted self by {in_words(gains[0])} and multi-task dqn by "
        f"{in_words(gains[1])}",
        min(low for _, low, _ in gains) > 0,
    )


def after_episodes(
    members: Sequence[Run], family: TaskFamily, label: str, directory: Path, kind: str
) -> np.ndarray:
    """[seeds, tasks, EPISODES]; episodes come one by one, in one lifetime or in rounds."""
    result = evaluate(members, "test", TASKS, EPISODES[-1] + 1, family=family, label=label)
    if members[0].directory is not None:
        result.save(directory / label / "evaluation" / f"{f'test-{kind}' if kind else 'test'}.safetensors")
    return result.curve()[:, :, list(EPISODES)]


ON_CARTPOLE = MAMLDQN()
CARTPOLE = Comparison(
    "CartPole with hidden physics, at most 200 steps: MAML-DQN",
    CartPole(horizon=200),
    (Method("maml-dqn", ON_CARTPOLE, 160),),
    rivals(0.95),
)
ON_CAR = MAMLDQN(tasks=8, inner_lr=0.3, lr=1e-3, gamma=0.9, epsilon_steps=50_000, sees_shaped=True)
"""The shaped reward is a difference of energies; a short horizon tells actions apart by it."""
CAR = Comparison(
    "MountainCar with hidden physics: MAML-DQN",
    MountainCar(),
    (Method("maml-dqn", ON_CAR, 100),),
    rivals(0.9, sees_shaped=True),
)
ON_BOTH = dataclasses.replace(ON_CAR, inner_lr=0.1, max_gradient_norm=1.0)
MIXTURE = Comparison(
    "CartPole or MountainCar: MAML-DQN",
    CartPoleMountainCar(),
    (Method("maml-dqn", ON_BOTH, 100),),
    rivals(0.9, sees_shaped=True),
    parts=(
        ("poles", CartPoleMountainCar(car_probability=0.0)),
        (CARS, CartPoleMountainCar(car_probability=1.0)),
    ),
)


def maml_dqn_cartpole(directory: Path, report: Report) -> Outcome:
    return compared(CARTPOLE, directory, report)


def maml_dqn_mountain_car(directory: Path, report: Report) -> Outcome:
    return compared(CAR, directory, report)


def maml_dqn_mixture(directory: Path, report: Report) -> Outcome:
    return compared(MIXTURE, directory, report)


BY_RETURN = dataclasses.replace(
    ON_CARTPOLE, outer="return", temperature=0.05, tasks=64, gradient_steps=5, lr=1e-3
)
OBJECTIVES = Comparison(
    "CartPole with hidden physics, at most 200 steps: objectives and orders of MAML-DQN",
    CartPole(horizon=200),
    (
        Method("maml-dqn", ON_CARTPOLE, 160),
        Method("fomaml-dqn", dataclasses.replace(ON_CARTPOLE, first_order=True), 160),
        Method("maml-dqn-return", BY_RETURN, 160),
        Method("fomaml-dqn-return", dataclasses.replace(BY_RETURN, first_order=True), 160),
    ),
    rivals(0.95)[:1],
)


def maml_dqn_objectives(directory: Path, report: Report) -> Outcome:
    return compared(OBJECTIVES, directory, report)
