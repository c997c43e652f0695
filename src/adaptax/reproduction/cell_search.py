"""T-NAS on small Omniglot: a cell is searched, decoded, and the network of what was decoded is trained anew beside MAML's own.

Lian et al. 2020, §5, in three stages for each seed. `t-nas` meta-learns the weights and the mixture of operations. The heaviest
operation of each edge is kept, once for all tasks. The network of these begins anew and is trained by MAML, for as many
meta-updates as the papers' network of four convolutions beside it.

Random search stands beside it at no smaller a budget (Li & Talwalkar 2019): so many cells are drawn evenly that their trainings
take as many meta-updates as the search and the training after it; the best on training tasks is met by the unseen ones.

Operations could be kept for each task by itself, after its own steps: a table tells how often another cell would come out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from adaptax import keys
from adaptax.algorithms.base import Config
from adaptax.algorithms.registry import ENTRIES
from adaptax.algorithms.t_nas import TNAS
from adaptax.chunks import chunk_size, map_tasks
from adaptax.collection.few_shot import adapted_to
from adaptax.evaluation.summaries import mean_interval
from adaptax.learner import Learner
from adaptax.networks.cell import OPERATIONS, Operation, decoded, edges
from adaptax.reports.outcome import Claim, Line, Outcome, Plot
from adaptax.reports.tables import Table
from adaptax.reproduction.draws import evaluation_examples
from adaptax.reproduction.gradient_methods import Method, difference, each_seed, in_words, trained
from adaptax.reproduction.kept import evaluated
from adaptax.reproduction.learning import SEEDS
from adaptax.search.cost import parameters
from adaptax.tasks.base import SupervisedFamily
from adaptax.tasks.omniglot import Omniglot
from adaptax.training.run import Run
from adaptax.training.train import Report, train_or_resume
from adaptax.types import FewShot, Theta

TOLD = (0, 1, 3)
"""Adaptations to a new task after which the accuracy is told."""
DECODED_TASKS = 100
"""Unseen tasks whose own cells are looked at."""


@dataclasses.dataclass(frozen=True)
class Stages:
    """What is searched, and how long each network is trained."""

    family: SupervisedFamily
    search: TNAS
    search_updates: int
    again: TNAS
    """How the decoded network is trained; its cell is put in."""
    by_hand: Config
    updates: int
    """Meta-updates of the decoded network, of the one made by hand, and of the multi-task one."""
    joint: Config
    tasks: int = 200
    """Unseen tasks."""

    @property
    def drawn(self) -> int:
        """Cells that random search trains: their meta-updates are at least those of the search and of the training after it."""
        return 1 + math.ceil(self.search_updates / max(1, self.updates))

    @property
    def all_cells(self) -> list[tuple[Operation, ...]]:
        return list(product(OPERATIONS, repeat=edges(self.again.nodes)))


SMALL = Stages(
    Omniglot(queries=3, side=14),
    TNAS(cells=2, transductive=True),
    200,
    TNAS(cells=2, transductive=True, first_order=False),
    # Four layers of 32 channels, as in Lian et al.'s tables, and as many tasks in an update as the decoded network is given.
    dataclasses.replace(ENTRIES["maml"].images, tasks=8, hidden=(32,) * 4, transductive=True),  # type: ignore[type-var]
    250,
    dataclasses.replace(ENTRIES["multi-task"].images, hidden=(32,) * 4),  # type: ignore[type-var]
)


def t_nas_omniglot(directory: Path, report: Report, seeds: int = SEEDS) -> Outcome:
    """The three stages at a size that two cores finish."""
    return staged(SMALL, directory, report, seeds)


def staged(stages: Stages, directory: Path, report: Report, seeds: int) -> Outcome:
    """The search, the decoded network beside the one made by hand, and what they do on unseen tasks."""
    family = stages.family
    search = trained(Method("t-nas", stages.search, stages.search_updates), family, directory, report, seeds)
    mixtures = [searched_mixture(run) for run in search]
    again = [
        with_cell(stages, decoded(mixture), run.seed, directory / "decoded", report)
        for run, mixture in zip(search, mixtures, strict=True)
    ]
    at_random = [best_of_drawn(stages, seed, directory / "random", report) for seed in range(seeds)]
    runs = {
        "t-nas": search,
        "decoded": again,
        "random": at_random,
        "maml": trained(Method("maml", stages.by_hand, stages.updates), family, directory, report, seeds),
        "multi-task": trained(
            Method("multi-task", stages.joint, stages.updates), family, directory, report, seeds
        ),
    }
    curves, lines = {}, []
    for label, members in runs.items():
        adaptations = 0 if label == "multi-task" else TOLD[-1]
        kept = directory / label / "evaluation/test.safetensors"
        result = evaluated(members, family, stages.tasks, adaptations, kept, label)
        curves[label] = curve = result.curve()
        ends = zip(*(mean_interval(curve[:, :, p]) for p in range(curve.shape[2])), strict=True)
        low, high = map(list, ends)
        lines.append(
            Line(label, [float(p) for p in range(curve.shape[2])], curve.mean((0, 1)).tolist(), low, high)
        )
    folders = [run.directory for members in runs.values() for run in members if run.directory]
    own = [own_cells(run, DECODED_TASKS) for run in search]
    return Outcome(
        [accuracies(stages, runs, curves), found(mixtures, own)],
        claims(curves, stages.updates),
        folders,
        [Plot("Accuracy on unseen characters", "adaptations", "accuracy", lines)],
    )


def with_cell(stages: Stages, cell: tuple[Operation, ...], seed: int, directory: Path, report: Report) -> Run:
    """The network of a cell, with weights of its own."""
    config = dataclasses.replace(stages.again, cell=cell)
    return train_or_resume(config, stages.family, stages.updates, seed, directory / f"seed-{seed}", report)


def best_of_drawn(stages: Stages, seed: int, directory: Path, report: Report) -> Run:
    """Of `stages.drawn` different cells drawn evenly, each trained as the decoded one: the best on its training tasks."""
    cells = stages.all_cells
    places = np.random.default_rng(seed).choice(len(cells), min(stages.drawn, len(cells)), replace=False)
    runs = [
        with_cell(stages, cells[place], seed, directory / f"cell-{i}", report)
        for i, place in enumerate(places)
    ]
    return max(runs, key=late_accuracy)


def late_accuracy(run: Run) -> float:
    """On the queries of the training tasks that the last fifth of its meta-updates met."""
    met = [row["return"] for row in run.metrics()]
    return float(np.mean(met[-math.ceil(len(met) / 5) :] or [0.0]))


def claims(curves: dict[str, Float[np.ndarray, "seeds tasks _"]], updates: int) -> list[Claim]:
    """That what was searched adapts, and that its decoded network is above that of random search and the one made by hand."""
    percent = {label: 100 * curve for label, curve in curves.items()}
    adapted, alone = percent["t-nas"][:, :, -1], percent["multi-task"][:, :, 0]
    gains = [difference(adapted, other) for other in (percent["t-nas"][:, :, 0], alone)]
    again, by_hand = percent["decoded"][:, :, -1], percent["maml"][:, :, -1]
    lead, ahead = difference(again, percent["random"][:, :, -1]), difference(again, by_hand)
    return [
        Claim(
            f"t-nas: {adapted.mean():.1f}% after adaptation, {in_words(gains[0])} points more than before it and "
            f"{in_words(gains[1])} more than the multi-task network",
            min(low for _, low, _ in gains) > 0,
        ),
        Claim(
            f"the decoded network, trained anew, is {in_words(lead)} points above the best of cells drawn at random, which were "
            "trained for at least as many meta-updates together as the search and it",
            lead[1] > 0,
        ),
        Claim(
            f"the decoded network, trained anew: {again.mean():.1f}% after adaptation, {in_words(ahead)} points on MAML's own "
            f"network after as many meta-updates ({updates:,})",
            ahead[1] > 0,
        ),
    ]


def accuracies(
    stages: Stages, runs: dict[str, list[Run]], curves: dict[str, Float[np.ndarray, "seeds tasks _"]]
) -> Table:
    """A row for each network."""
    alone, rows = 100 * curves["multi-task"][:, :, 0], []
    for label, members in runs.items():
        percent, cells = 100 * curves[label], {}
        for p in range(percent.shape[2]):
            low, high = mean_interval(percent[:, :, p])
            cells[p] = f"{percent[:, :, p].mean():.1f} ± {(high - low) / 2:.1f}"
        adapts = label != "multi-task"
        gains = [difference(percent[:, :, -1], other) for other in (percent[:, :, 0], alone)]
        sizes = sorted({parameters(run) for run in members})
        seconds = sum(run.seconds for run in members) / len(members)
        rows.append(
            (
                label, *(cells.get(p, "") for p in TOLD), each_seed(percent[:, :, -1]),
                *(in_words(gain) if adapts else "" for gain in gains),
                " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1]))), f"{members[0].updates:,}",
                f"{seconds:.0f}",
            )
        )  # fmt: skip
    shown = next(iter(runs.values()))
    return Table(
        f"{stages.family.spec.name}: % right of {stages.tasks} unseen tasks, {len(shown)} seed{'s' * (len(shown) > 1)}",
        (
            "network", *("unadapted" if k == 0 else f"{k} adaptation{'s' * (k > 1)}" for k in TOLD), "each seed",
            "gain on unadapted", "gain on multi-task", "parameters", "updates", "seconds",
        ),
        rows,
        "t-nas: the mixture and the weights that were searched. decoded: the heaviest operation of each edge, with weights of its "
        f"own, trained anew. random: the best on training tasks of {stages.drawn} cells drawn evenly, each trained so. maml: four "
        "convolutions of 3 × 3. All of them normalise a task's queries together (transductive). Seconds: of one training.",
    )  # fmt: skip


def found(
    mixtures: Sequence[Float[Array, "edges operations"]], own: Sequence[list[tuple[Operation, ...]]]
) -> Table:
    """What the search of each seed found, and whether tasks would have it otherwise; `own`: the cells of unseen tasks."""
    rows = []
    for seed, (mixture, cells) in enumerate(zip(mixtures, own, strict=True)):
        heaviest = np.asarray(jax.nn.softmax(mixture, axis=-1)).max(-1)
        same = sum(cell == decoded(mixture) for cell in cells) / len(cells)
        weights = ", ".join(f"{weight:.2f}" for weight in heaviest)
        rows.append([str(seed), ", ".join(decoded(mixture)), weights, f"{same:.0%}", str(len(set(cells)))])
    return Table(
        "The cells that were found",
        ("seed", "operations of the edges", "their weights", "tasks with the same", "cells of all tasks"),
        rows,
        f"Weights: of the heaviest operations, before adaptation; all alike are 0.25. Tasks: {len(own[0])} unseen ones; each "
        f"keeps the heaviest operations after {TOLD[-1]} adaptations of its own.",
        frozenset({1, 2}),
    )


def searched_mixture(run: Run) -> Float[Array, "edges operations"]:
    """α, as it was meta-learned."""
    return run.state.theta.policy.convolutions.mixture


def own_cells(run: Run, tasks: int) -> list[tuple[Operation, ...]]:
    """What unseen tasks keep, each after its own adaptations."""
    data = evaluation_examples(run.family, "test", run.seed, tasks)  # type: ignore[arg-type]
    algorithm = run.algorithm
    chunk = chunk_size(tasks, data.support.obs.shape[1] * algorithm.floats_per_row)  # type: ignore[attr-defined]
    return [decoded(mixture) for mixture in _adapted(algorithm.learner, run.state.theta, data, chunk)]


@eqx.filter_jit
def _adapted(
    learner: Learner, theta: Theta, data: FewShot, chunk: int
) -> Float[Array, "tasks edges operations"]:
    """α_i of tasks."""

    def one(data: FewShot) -> Array:
        fast = learner.begin(theta, keys.begin(data.keys), None)
        return adapted_to(learner, theta, data, fast, TOLD[-1]).policy.convolutions.mixture

    return map_tasks(one, data, chunk)
