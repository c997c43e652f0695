"""Gradient methods beside one another: adaptation curves on unseen tasks at equal consumption, five seeds each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adaptax import statistics
from adaptax.algorithms.base import Config
from adaptax.algorithms.gbml import GBML
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.multi_task import MultiTask
from adaptax.algorithms.registry import ENTRIES
from adaptax.evaluation.evaluate import evaluate
from adaptax.evaluation.result import Evaluation
from adaptax.reproduction.learning import SEEDS, train_as_long
from adaptax.reproduction.outcome import Claim, Outcome, Table
from adaptax.tasks.base import AnyFamily
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.functions import Sinusoid
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.progress import silent
from adaptax.training.run import Run
from adaptax.training.train import Report, train, train_or_resume

ROUNDS, STREAMS, TASKS = 4, 10, 100
"""Every method meets so many unseen tasks, in so many rounds of so many episodes."""
WAVES = 600
"""Unseen sine waves."""
STEPS = (0, 1, 5, 10)
"""Adaptation steps after which the error on sine waves is told."""


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    config: Config
    updates: int
    claimed: bool = True
    """Whether the table's few rounds are what it is for."""


def small(name: str, updates: int, **changes: object) -> Method:
    """A method of the registry with a network and a number of tasks that two cores train in seconds."""
    sized = {"tasks": 20, "hidden": (32, 32)} | changes
    return Method(name, dataclasses.replace(ENTRIES[name].default, **sized), updates)  # type: ignore[type-var]


def navigation_methods() -> list[Method]:
    names = ("maml", "fomaml", "anil", "meta-sgd", "promp", "emaml", "gbml")
    return [*(small(name, 30) for name in names), small("reptile", 40), from_scratch(20)]


def cartpole_methods() -> list[Method]:
    names = ("maml", "fomaml", "anil", "meta-sgd", "promp", "emaml", "gbml")
    return [
        *(small(name, 12) for name in names),
        small("reptile", 25, inner_lr=2.0, inner_steps=4),
        from_scratch(8),
    ]


def from_scratch(updates: int) -> Method:
    """L2O, which begins from a random policy and is trained for ten rounds: its learning result is `l2o-learns`."""
    return Method("l2o", ENTRIES["l2o"].default, updates, claimed=False)


def trained(method: Method, family: AnyFamily, directory: Path, report: Report) -> list[Run]:
    """Five seeds of a method."""
    return [
        train_or_resume(
            method.config, family, method.updates, seed, directory / method.name / f"seed-{seed}", report
        )
        for seed in range(SEEDS)
    ]


def control_table(
    title: str, methods: Sequence[Method], family: AnyFamily, directory: Path, report: Report
) -> Outcome:
    """Return of an episode before adaptation and after each round, and what adaptation is worth."""
    runs = {m.name: trained(m, family, directory, report) for m in methods}
    # The multi-task learner has had as many environment steps as the method that had most.
    most = [max(members[seed].env_steps for members in runs.values()) for seed in range(SEEDS)]
    policies = [
        train_as_long(family, most[seed], seed, directory / "multi-task" / f"seed-{seed}", report)
        for seed in range(SEEDS)
    ]
    alone = evaluate(policies, "test", TASKS, 1, label="multi-task")
    tuned = MultiTask(streams=STREAMS, fine_tune_steps=20)
    layout = tuned.build(family.spec).test_layout(ROUNDS * STREAMS)
    scratch = evaluate(
        [train(tuned, family, 0, seed, report=silent) for seed in range(SEEDS)], "test", TASKS, layout=layout, label="from scratch"
    )  # fmt: skip
    fine = evaluate(
        [dataclasses.replace(run, config=tuned, _algorithm=None) for run in policies],
        "test",
        TASKS,
        layout=layout,
        label="fine-tune",
    )
    rows, claims = [], []
    compromise = alone.curve()[:, :, 0]
    for method in methods:
        result = evaluate(runs[method.name], "test", TASKS, ROUNDS * STREAMS, label=method.name)
        result.save(directory / method.name / "evaluation" / "test.safetensors")
        curve = result.curve()
        gains = [_gain(curve[:, :, -1], other) for other in (curve[:, :, 0], compromise)]
        seconds = np.mean([run.seconds for run in runs[method.name]])
        rows.append(
            (method.name, *_means(result), *(_in_words(g) for g in gains), _worst(result), f"{seconds:.0f} s")
        )
        if not method.claimed:
            continue
        claims.append(
            Claim(
                f"{method.name}: adapted beats its unadapted self by {_in_words(gains[0])} and the multi-task learner by "
                f"{_in_words(gains[1])}",
                min(low for _, low, _ in gains) > 0,
            )
        )
    for result in (fine, scratch):
        rows.append((result.label, *_means(result), "", "", _worst(result), ""))
    rows.append(("multi-task", f"{compromise.mean():.1f}", *[""] * (ROUNDS + 1), _worst(alone), ""))
    if alone.optimal is not None:
        rows.append(("oracle (closed form)", f"{alone.optimal.mean():.1f}", *[""] * (ROUNDS + 3)))
    rounds = (f"round {k}" for k in range(1, ROUNDS))
    header = ("method", "before", *rounds, "− unadapted", "− multi-task", "worst tenth", "training")
    note = (
        f"Mean return of an episode over {SEEDS} seeds × {TASKS} unseen tasks, in rounds of {STREAMS} episodes; differences "
        "of the last round with 95% intervals. Worst tenth: of the tasks, after the last round. The multi-task learner has had "
        "as many environment steps as the method with most. l2o begins from a random policy and is made for ten rounds, not three."
    )
    folders = [run.directory for members in (*runs.values(), policies) for run in members if run.directory]
    return Outcome([Table(title, header, rows, note)], claims, folders)


def navigation(directory: Path, report: Report) -> Outcome:
    """2D navigation."""
    return control_table(
        "2D navigation: gradient methods at equal consumption",
        navigation_methods(),
        PointNavigation(),
        directory,
        report,
    )


def cartpole(directory: Path, report: Report) -> Outcome:
    """CartPole with hidden physics and, in half of the tasks, exchanged actions."""
    return control_table(
        "CartPole with hidden physics, at most 200 steps: gradient methods at equal consumption",
        cartpole_methods(),
        CartPole(horizon=200),
        directory,
        report,
    )


def sinusoid_methods() -> list[Method]:
    updates = {"maml": 6000, "fomaml": 6000, "anil": 6000, "meta-sgd": 6000, "gbml": 2500, "reptile": 5000}
    return [Method(name, ENTRIES[name].supervised, n) for name, n in updates.items()]  # type: ignore[arg-type]


# Test error after one step, trained with 10 shots (Li et al. 2017, table 1).
PUBLISHED = {"maml": "1.13 / 0.77 / 0.48", "meta-sgd": "0.90 / 0.53 / 0.31"}


def sinusoid(directory: Path, report: Report) -> Outcome:
    """Sine waves from 5, 10 and 20 points, after 0, 1, 5 and 10 steps."""
    family, tables, claims, folders = Sinusoid(), [], [], []
    runs = {m.name: trained(m, family, directory, report) for m in sinusoid_methods()}
    joint_config = ENTRIES["multi-task"].supervised
    assert joint_config is not None
    joint = trained(Method("multi-task", joint_config, 6000), family, directory, report)
    for shots in (5, 10, 20):
        met = Sinusoid(shots=shots)
        alone = evaluate(joint, "test", WAVES, 0, family=met).curve()[:, :, 0]
        rows = []
        for name, members in runs.items():
            result = evaluate(members, "test", WAVES, STEPS[-1], family=met, label=name)
            curve = result.curve()[:, :, list(STEPS)]
            gains = [_gain(curve[:, :, -1], other) for other in (curve[:, :, 0], alone)]
            cells = [
                f"{-x.mean():.3f} ± {1.96 * statistics.standard_error(x):.3f}"
                for x in np.moveaxis(curve, 2, 0)
            ]
            rows.append((name, *cells, *(_in_words(g, 2) for g in gains), PUBLISHED.get(name, "")))
            if shots == 10:
                result.save(directory / name / "evaluation" / "test.safetensors")
                claims.append(
                    Claim(
                        f"{name}: the adapted error is below its unadapted one by {_in_words(gains[0], 2)} and below the "
                        f"multi-task network's by {_in_words(gains[1], 2)}",
                        min(low for _, low, _ in gains) > 0,
                    )
                )
        rows.append(("multi-task", f"{-alone.mean():.3f}", *[""] * (len(STEPS) + 2)))
        tables.append(
            Table(
                f"Sine waves from {shots} points: mean squared error over {SEEDS} seeds × {WAVES} unseen waves",
                (
                    "method",
                    *(f"{k} steps" for k in STEPS),
                    "gain on unadapted",
                    "gain on multi-task",
                    "published",
                ),
                rows,
                "Trained with 10 points. Published: after one step with 5 / 10 / 20 points, of learners trained with one step "
                "(Li et al. 2017); ours are trained with five.",
            )
        )
    for members in (*runs.values(), joint):
        folders += [run.directory for run in members if run.directory]
    return Outcome(tables, claims, folders)


def gbml_against_maml(directory: Path, report: Report) -> Outcome:
    """A learned direction against a fixed rate: the same inner steps, samples and meta-updates."""
    forms: tuple[tuple[str, Callable[..., Config]], ...] = (
        ("maml", MAML),
        ("gbml-rates", lambda **k: GBML(direction="rates", **k)),
        ("gbml-curvature", lambda **k: GBML(direction="curvature", **k)),
        ("gbml-network", lambda **k: GBML(direction="network", **k)),
    )
    waves = {
        "tasks": 25, "inner_steps": 1, "inner_lr": 0.01, "hidden": (40, 40), "activation": "relu", "lr": 1e-3,
        "max_gradient_norm": 10.0,
    }  # fmt: skip
    plans = (
        ("sine waves", Sinusoid(), waves, 2000, WAVES, 1, "−MSE after 1 step"),
        (
            "2D navigation",
            PointNavigation(),
            {"tasks": 20, "hidden": (32, 32)},
            30,
            TASKS,
            2 * STREAMS,
            "return after round 1",
        ),
    )
    tables, claims, folders = [], [], []
    for title, family, shared, updates, tasks, episodes, what in plans:
        place = directory / family.spec.name
        results = {}
        for name, build in forms:
            runs = trained(Method(name, build(**shared), updates), family, place, report)
            results[name] = evaluate(runs, "test", tasks, episodes, label=name).curve()
            folders += [run.directory for run in runs if run.directory]
        rows = []
        for name, curve in results.items():
            before, after = (f"{curve[:, :, k].mean():.3f}" for k in (0, 1))
            gain = _gain(curve[:, :, 1], results["maml"][:, :, 1])
            rows.append((name, before, after, "" if name == "maml" else _in_words(gain, 3)))
        best = max(list(results)[1:], key=lambda n: results[n][:, :, 1].mean())
        gain = _gain(results[best][:, :, 1], results["maml"][:, :, 1])
        claims.append(
            Claim(f"{title}: {best} beats fixed-rate MAML by {_in_words(gain, 3)} ({what})", gain[1] > 0)
        )
        tables.append(
            Table(
                f"{title}: a learned direction against a fixed rate",
                ("method", "before", what, "− maml"),
                rows,
                f"{SEEDS} seeds × {tasks} unseen tasks; the same inner steps, samples and {updates} meta-updates; differences with "
                "95% intervals.",
            )
        )
    return Outcome(tables, claims, folders)


def robust(directory: Path, report: Report) -> Outcome:
    """MAML on 2D navigation for the mean task, the worst quarter, and the worst task."""
    family, rows, folders, results = PointNavigation(), [], [], {}
    for objective in ("mean", "cvar", "worst"):
        runs = trained(small("maml", 30, objective=objective), family, directory / objective, report)
        results[objective] = result = evaluate(runs, "test", 400, 2 * STREAMS, label=objective)
        folders += [run.directory for run in runs if run.directory]
        after = result.curve()[:, :, 1]
        cells = (after.mean(), after.mean(0).std(ddof=1), result.worst_tenth(), after.mean(0).min())
        rows.append((objective, *(f"{x:.2f}" for x in cells)))
    worst = [np.sort(r.curve()[:, :, 1], 1)[:, :40].mean(1) for r in (results["cvar"], results["mean"])]
    gain = float((worst[0] - worst[1]).mean())
    spreads = [results[name].curve()[:, :, 1].std(1, ddof=1).mean() for name in ("cvar", "mean")]
    return Outcome(
        [
            Table(
                f"2D navigation: MAML's return after one round, by what is optimised over tasks; {SEEDS} seeds × 400 unseen goals",
                ("objective", "mean", "deviation over tasks", "worst tenth", "worst task"),
                rows,
                "cvar: the mean over the worst quarter of the tasks in a meta-update.",
            )
        ],
        [
            Claim(
                f"cvar: the tasks differ less than under the mean (deviation {spreads[0]:.2f} against {spreads[1]:.2f}; worst "
                f"tenth {gain:+.2f})",
                spreads[0] < spreads[1],
            )
        ],
        folders,
    )


def _gain(adapted: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Mean difference, task by task and seed by seed, and its 95% interval."""
    low, high = statistics.paired_interval(adapted, other, "mean")
    return float((adapted - other).mean()), low, high


def _in_words(gain: tuple[float, float, float], places: int = 1) -> str:
    return "{:+.{p}f} [{:+.{p}f}, {:+.{p}f}]".format(*gain, p=places)


def _means(result: Evaluation) -> list[str]:
    curve = result.curve()[:, :, :ROUNDS]
    return [f"{x.mean():.1f}" for x in np.moveaxis(curve, 2, 0)]


def _worst(result: Evaluation) -> str:
    return f"{result.worst_tenth():.1f}"
