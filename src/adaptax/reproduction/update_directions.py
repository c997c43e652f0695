"""Learned update directions (GBML) against MAML's fixed rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adaptax.algorithms.base import Config
from adaptax.algorithms.gbml import GBML
from adaptax.algorithms.maml import MAML
from adaptax.evaluation.evaluate import evaluate
from adaptax.reports.outcome import Claim, Outcome
from adaptax.reports.tables import Table
from adaptax.reproduction.gradient_methods import STREAMS, TASKS, WAVES, Method, difference, in_words, trained
from adaptax.reproduction.learning import SEEDS
from adaptax.tasks.cartpole import CartPole
from adaptax.tasks.functions import Sinusoid
from adaptax.tasks.point_navigation import PointNavigation
from adaptax.training.train import Report


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
    control = {"tasks": 20, "hidden": (32, 32)}
    plans = (
        ("sine waves", Sinusoid(), waves, 2000, WAVES, 1, "−MSE after 1 step"),
        ("2D navigation", PointNavigation(), control, 30, TASKS, 2 * STREAMS, "return after round 1"),
        ("CartPole", CartPole(horizon=200), control, 12, TASKS, 2 * STREAMS, "return after round 1"),
    )
    tables, claims, folders = [], [], []
    for title, family, shared, updates, tasks, episodes, what in plans:
        place = directory / family.spec.name
        results, on_training_tasks = {}, {}
        for name, build in forms:
            runs = trained(Method(name, build(**shared), updates), family, place, report)
            results[name] = evaluate(runs, "test", tasks, episodes, label=name).curve()
            on_training_tasks[name] = evaluate(runs, "train", tasks, episodes, label=name).curve()
            folders += [run.directory for run in runs if run.directory]
        rows = []
        for name, curve in results.items():
            before, after = (f"{curve[:, :, k].mean():.3f}" for k in (0, 1))
            gain = difference(curve[:, :, 1], results["maml"][:, :, 1])
            rows.append((name, before, after, "" if name == "maml" else in_words(gain, 3)))
        # The form is chosen apart from the tasks that judge it.
        best = max(list(results)[1:], key=lambda n: on_training_tasks[n][:, :, 1].mean())
        gain = difference(results[best][:, :, 1], results["maml"][:, :, 1])
        claims.append(
            Claim(f"{title}: {best} beats fixed-rate MAML by {in_words(gain, 3)} ({what})", gain[1] > 0)
        )
        tables.append(
            Table(
                f"{title}: a learned direction against a fixed rate",
                ("method", "before", what, "− maml"),
                rows,
                f"{SEEDS} seeds × {tasks} unseen tasks; the same inner steps, samples and {updates} meta-updates; differences with "
                "95% intervals. The form that is claimed to be better is the best on as many training tasks.",
            )
        )
    return Outcome(tables, claims, folders)
