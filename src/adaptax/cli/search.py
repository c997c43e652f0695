"""`adaptax search`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config
from adaptax.checkpoint import write_atomically
from adaptax.cli.output import show
from adaptax.cli.reproduce import as_json
from adaptax.cli.train import learner_arguments
from adaptax.evaluation.folder import run_summaries, train_command
from adaptax.reports.html import write_report
from adaptax.reports.numbers import duration
from adaptax.reports.outcome import Scatter
from adaptax.reports.plots import scatter
from adaptax.search.outcome import outcome
from adaptax.search.run import Plan, SearchProgress, search
from adaptax.search.space import described, space_of
from adaptax.search.strategies import strategy
from adaptax.tasks import registry as families
from adaptax.tasks.base import AnyFamily


@dataclasses.dataclass(frozen=True)
class Options:
    """Searches the architecture of a learner's network that adapts best over a task family.

    `adaptax search ALGORITHM FAMILY --help` shows the hyperparameters of the one and the fields of the other too.
    """

    algorithm: Annotated[Positional[str], arg(metavar="ALGORITHM")]
    """Its name: `adaptax list` shows them."""
    reference: Annotated[Positional[str], arg(metavar="FAMILY")]
    """NAME, gymnasium:MODULE:CLASS or jax:MODULE:CLASS."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder to write; default: runs/search-ALGORITHM-FAMILY-STRATEGY. The same command goes on with a search there."""
    strategy: Annotated[str, arg(metavar="NAME")] = "evolution"
    """evolution (ageing), genetic (with crossover), bayes (Optuna), halving (many candidates, a little each) or random."""
    trials: Annotated[int, arg(metavar="N")] = 24
    """Budget: so many candidates could be trained fully."""
    updates: Annotated[int | None, arg(metavar="U", help_behavior_hint="")] = None
    """Meta-updates of a full training; default: what the algorithm needs on a small family."""
    workers: Annotated[int, arg(metavar="W")] = 1
    """Processes that train at the same time; 0: this one alone."""
    score: Literal["adapted", "curve", "worst-tenth"] = "adapted"
    """Of a candidate on validation tasks: after adaptation, on average along it, or after it in the worst tenth of the tasks."""
    cost: Literal["none", "parameters", "adapt-ms", "act-us"] = "none"
    """The second objective, to be low: the search then keeps to the Pareto front of the two."""
    choose: Annotated[tuple[str, ...], arg(metavar="GENE=A,B")] = ()
    """Other choices than the usual ones: depth=1,2 width=32,64 activation=relu."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Of the search; the best architectures are then trained with others."""
    scored_tasks: Annotated[int, arg(metavar="M")] = 100
    """Validation tasks, and test tasks."""
    finalists: Annotated[int, arg(metavar="F")] = 2
    """The best architectures, which are trained anew and tested beside the one made by hand."""
    seeds: Annotated[int, arg(metavar="K")] = 3
    """Trainings of each of them."""


@dataclasses.dataclass(frozen=True)
class Search:
    options: Options
    hyperparameters: Config
    family: AnyFamily

    def execute(self) -> int:
        o = self.options
        strategy(o.strategy)  # a wrong name is told before the search begins
        usual = algorithms.entry(o.algorithm).defaults(self.family.spec)[1]
        plan = Plan(
            self.hyperparameters, self.family, space_of(self.hyperparameters, self.family.spec).restricted(o.choose),
            o.strategy, o.trials, usual if o.updates is None else o.updates, o.workers, o.score,
            None if o.cost == "none" else o.cost, o.seed, o.scored_tasks, o.finalists, o.seeds,
        )  # fmt: skip
        name = f"search-{o.algorithm}-{self.family.spec.name}-{o.strategy}"
        directory = o.run or Path("runs") / name
        found = search(plan, directory, tell)
        if not found.finished:
            print(f"Interrupted after {len(found.trials)} trials; all of them are kept in {directory}.")
            print("The same command goes on from there.")
            return 1
        result = outcome(found)
        for table in result.tables[:1]:
            show(table)
        for claim in result.claims:
            print(f"{'✓' if claim.holds else '✗'} {claim.sentence}")
        for plot in result.plots:
            if isinstance(plot, Scatter):
                path = directory / f"pareto-{plot.x_label.split()[-1]}.png"
                scatter(plot).savefig(path, dpi=120)
        write_atomically(directory / "outcome.json", as_json(name, result).encode())
        write_report(
            directory / "report.html",
            [run for folder in result.folders for run in run_summaries(folder)],
            result,
        )
        best = plan.with_genes(found.finalists[0].genes or {})
        family = families.describe(self.family)
        print(
            f"Train what was found: {train_command(o.algorithm, best, family, self.family.spec, o.seed, plan.updates)}"
        )
        print(f"Report: {directory / 'report.html'}   all trials: {directory / 'trials.jsonl'}")
        return 0


def search_command(args: Sequence[str]) -> Search:
    """The command that the arguments describe."""
    found = learner_arguments(Options, args, "adaptax search", "Searches the architecture of")
    return Search(*found)


def tell(progress: SearchProgress) -> None:
    """A line on standard error."""
    p = progress
    best = "" if p.best is None else f" · best {p.best.score:.4g} ({described(p.best.genes)})"
    left = f" · {duration(p.seconds_left)} left" if p.seconds_left > 0 else ""
    print(
        f"search: {p.last} · {p.done} trials, {100 * p.spent:.0f}% of the work{best}{left}",
        file=sys.stderr,
        flush=True,
    )
