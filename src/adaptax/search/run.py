"""A search is a folder, as a run is: interrupt it anywhere, and the same command goes on from there.

search.json       what is searched, and how
trials.jsonl      a line for each trial that ended
architectures/    the run of each candidate
final/            the best architectures, and the one made by hand, trained anew and met by test tasks
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config, check_hyperparameters
from adaptax.checkpoint import write_atomically
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import EVALUATION_SEED
from adaptax.evaluation.result import Evaluation
from adaptax.search.pareto import order
from adaptax.search.record import COSTS, Proposal, Trial, append_trial, read_trials
from adaptax.search.space import Genes, Space, identity, settings
from adaptax.search.strategies import strategy
from adaptax.search.strategy import Request, Strategy
from adaptax.search.trial import SCORES, VALIDATION_SEED, Job, Measured, parts
from adaptax.search.workers import Answer, Workers
from adaptax.tasks import registry as families
from adaptax.tasks.base import AnyFamily
from adaptax.training.interrupts import Interrupts
from adaptax.training.run import circumstances
from adaptax.training.train import check_types

FORMAT = "adaptax-search-1"
LOOK_SECONDS = 0.5
"""How often a search that waits for trials looks whether it was interrupted."""
BY_HAND = "by hand"
"""The name of the architecture that the learner has unless told otherwise."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is searched, and how; all that the trials depend on."""

    config: Config
    """The learner, whose architecture is replaced."""
    family: AnyFamily
    space: Space
    strategy: str = "evolution"
    trials: int = 24
    """Budget: so many candidates could be trained fully."""
    updates: int = 100
    """Meta-updates of a full training."""
    workers: int = 1
    """Processes. With several, a strategy proposes before the newest trials have ended."""
    score: str = "adapted"
    """One of `trial.SCORES`."""
    cost: str | None = None
    """One of `record.COSTS`: the second objective; None: the score alone counts."""
    seed: int = 0
    """Of the proposals, and of the candidates' trainings."""
    tasks: int = 100
    """Validation tasks, and test tasks."""
    finalists: int = 2
    """The best architectures, to be trained anew and tested."""
    seeds: int = 3
    """Trainings of each of them, with seeds that the search has not seen."""

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields |= {
            "config": dataclasses.asdict(self.config), "learner": algorithms.name_of(self.config),  # type: ignore[call-overload]
            "family": families.describe(self.family), "space": self.space.choices,
        }  # fmt: skip
        return json.loads(json.dumps(fields))

    def check(self) -> None:
        """AdaptaxError for values that make no sense."""
        check_types(self.config, self.family)
        check_hyperparameters(self.config)
        for name, least in {
            "trials": 1,
            "updates": 1,
            "workers": 0,
            "tasks": 1,
            "finalists": 1,
            "seeds": 1,
            "seed": 0,
        }.items():
            if getattr(self, name) < least:
                raise AdaptaxError(f"{name} must be {least} or more, not {getattr(self, name)}.")
        for name, there in {"score": SCORES, "cost": COSTS}.items():
            value = getattr(self, name)
            if value not in there and (name, value) != ("cost", None):
                raise AdaptaxError(f"{name} must be {' or '.join(there)}, not '{value}'.")

    def with_genes(self, genes: Genes) -> Config:
        """The learner with a candidate's architecture."""
        return dataclasses.replace(self.config, **settings(genes))  # type: ignore[type-var]


@dataclasses.dataclass(frozen=True)
class Finalist:
    """An architecture that was trained anew with other seeds, and met test tasks."""

    name: str
    genes: Genes | None
    """None: the one made by hand."""
    directory: Path
    """Of its trainings."""
    measured: list[Measured]
    """Of each seed."""
    test: Evaluation
    """Of all seeds."""
    validation: float
    """The score that the search chose it by; NaN: it did not."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found, so far."""

    plan: Plan
    trials: list[Trial]
    finalists: list[Finalist]
    """Best first, the one made by hand last; empty where the search was interrupted before."""
    finished: bool


@dataclasses.dataclass(frozen=True)
class SearchProgress:
    """What is known after a trial."""

    done: int
    spent: float
    """Share of the whole search's meta-updates, final trainings included."""
    best: Trial | None
    last: str
    """What came of the last trial."""
    seconds_left: float


def search(
    plan: Plan, directory: Path, report: Callable[[SearchProgress], None] = lambda progress: None
) -> Found:
    """Searches, or goes on with a search; then trains the best architectures and the one made by hand anew, and tests them.

    AdaptaxError where the folder holds something else, or no trial succeeds.
    """
    plan.check()
    _open(plan, directory)
    with Workers(plan.workers) as workers, Interrupts() as interrupts:
        running = _Search(plan, directory, workers, interrupts, report)
        finished = running.trials() and running.finals()
    return Found(plan, running.in_order, running.finalists() if finished else [], finished)


class _Search:
    def __init__(
        self, plan: Plan, directory: Path, workers: Workers, interrupts: Interrupts, report: Callable[[SearchProgress], None]
    ):  # fmt: skip
        self.plan, self.directory, self.workers, self.interrupts, self.report = (
            plan,
            directory,
            workers,
            interrupts,
            report,
        )
        self.strategy: Strategy = strategy(plan.strategy)
        self.done = read_trials(directory)
        self.measured: dict[str, Measured] = {}
        self.met: list[Genes] = []
        """Of every trial proposed so far, in the order of their numbers."""
        self.began, self.spent_now, self.stopped = time.perf_counter(), 0, False

    @property
    def in_order(self) -> list[Trial]:
        return [self.done[number] for number in sorted(self.done)]

    # --- trials ---

    def trials(self) -> bool:
        """All of them; False where it was interrupted before."""
        number, waiting = 0, True
        while waiting or self.workers.busy:
            while waiting and self.workers.free and not self._asked():
                request = self._request(number)
                if not all(
                    n in self.done for n in range(self.strategy.needs(request, max(1, self.plan.workers)))
                ):
                    break
                proposal = self.strategy.propose(request, np.random.default_rng([self.plan.seed, number]))
                if proposal is None:
                    waiting = False
                    break
                self.met.append(proposal.genes)
                if number not in self.done:
                    self.workers.submit((number, proposal), self._job(proposal))
                number += 1
            waiting = waiting and not self._asked()
            for (n, proposed), answer in self._answers():
                if answer[0] != "interrupted":
                    self._end(n, proposed, answer)
        if not self._asked() and not any(math.isfinite(trial.score) for trial in self.in_order):
            raise AdaptaxError(f"All trials failed, the last one so: {self.in_order[-1].error}")
        return not self._asked()

    def _request(self, number: int) -> Request:
        history = [self.done[n] for n in range(number) if n in self.done]
        known = next((n for n in range(number) if n not in self.done), number)
        plan = self.plan
        needed = Request(
            plan.space,
            plan.trials,
            plan.updates,
            number,
            history[:known],
            {identity(genes) for genes in self.met},
            plan.cost,
        )
        # No more than what is certain to have ended: proposals are the same however long each trial takes.
        certain = self.strategy.needs(needed, max(1, plan.workers))
        return dataclasses.replace(needed, history=history[: min(certain, known)])

    def _job(self, proposal: Proposal) -> Job:
        fit, validation = parts(self.plan.family)
        return Job(
            self.plan.with_genes(proposal.genes), fit, validation, proposal.updates, self.plan.seed,
            self.directory / "architectures" / folder(proposal.genes), "train", self.plan.tasks, VALIDATION_SEED,
        )  # fmt: skip

    def _end(self, number: int, proposal: Proposal, answer: Answer) -> None:
        state, found = answer
        before = [t.updates for t in self.done.values() if t.identity == identity(proposal.genes)]
        self.spent_now += max(0, proposal.updates - max(before, default=0))
        if state == "done":
            trial = Trial(
                number, proposal.genes, proposal.updates, found.scores[self.plan.score], found.parameters, found.adapt_ms,
                found.act_us, found.env_steps, found.seconds,
            )  # fmt: skip
        else:
            trial = Trial(number, proposal.genes, proposal.updates, error=str(found))
        append_trial(self.directory, trial)
        self.done[number] = trial
        self._tell(f"trial {number + 1}: {trial.error or f'{trial.score:.4g}'}")

    # --- what is best, on test tasks ---

    def finals(self) -> bool:
        """Trains and tests; False where it was interrupted before."""
        jobs = [
            (name, seed)
            for name in self._names()
            for seed in self._seeds()
            if not self._kept(name, seed).is_file()
        ]
        while jobs or self.workers.busy:
            while jobs and self.workers.free and not self._asked():
                name, seed = jobs.pop(0)
                self.workers.submit((name, seed), self._final_job(name, seed))
            if self._asked():
                jobs = []
            for (name, seed), (state, found) in self._answers():
                if state == "failed" and not self._asked():
                    raise AdaptaxError(f"The final training of {name} with seed {seed} failed: {found}")
                if state == "done":
                    record = json.dumps(dataclasses.asdict(found)).encode()
                    write_atomically(self._kept(name, seed).with_suffix(".json"), record)
                    self.spent_now += self.plan.updates
                    self._tell(f"final training of {name}, seed {seed}")
        return not self._asked()

    def finalists(self) -> list[Finalist]:
        """As they stand in the folder; the evaluation of all seeds of each is kept where reports look for it."""
        found = []
        for place, (name, trial) in enumerate(self._names().items(), start=1):
            paths = [self._kept(name, seed) for seed in self._seeds()]
            label = BY_HAND if trial is None else f"found, number {place}"
            test = joined([Evaluation.load(path.with_suffix(".safetensors")) for path in paths], label)
            test.save(paths[0].parent / "evaluation" / "test.safetensors")
            measured = [Measured(**json.loads(path.read_text())) for path in paths]
            genes, validation = (None, math.nan) if trial is None else (trial.genes, trial.score)
            found.append(Finalist(name, genes, paths[0].parent, measured, test, validation))
        return found

    def _names(self) -> dict[str, Trial | None]:
        """Trial of each finalist, best first, by the name of its folder; None for the one made by hand."""
        best = finalists(self.in_order, self.plan)
        return {folder(trial.genes): trial for trial in best} | {BY_HAND: None}

    def _seeds(self) -> range:
        return range(self.plan.seed + 1, self.plan.seed + 1 + self.plan.seeds)

    def _kept(self, name: str, seed: int) -> Path:
        return self.directory / "final" / name.replace(" ", "-") / f"test-{seed}.json"

    def _final_job(self, name: str, seed: int) -> Job:
        plan, trial = self.plan, self._names()[name]
        config = plan.config if trial is None else plan.with_genes(trial.genes)
        path = self._kept(name, seed)
        return Job(
            config, plan.family, plan.family, plan.updates, seed, path.parent / f"seed-{seed}", "test", plan.tasks,
            EVALUATION_SEED, path.with_suffix(".safetensors"),
        )  # fmt: skip

    # --- both ---

    def _asked(self) -> bool:
        return self.interrupts.asked or self.stopped

    def _answers(self) -> list[tuple[Any, Answer]]:
        """Those that have come; where the search was interrupted, jobs are asked to stop, and what fails then does not count."""
        if self._asked():
            self.workers.interrupt()
        found = self.workers.wait(LOOK_SECONDS)
        if any(state == "interrupted" for _, (state, _) in found):
            self.stopped = True
        if self._asked():
            found = [
                (label, answer if answer[0] == "done" else ("interrupted", "")) for label, answer in found
            ]
        return found

    def _tell(self, last: str) -> None:
        plan, seconds = self.plan, time.perf_counter() - self.began
        best = finalists(self.in_order, plan)
        total = plan.updates * (plan.trials + (plan.finalists + 1) * plan.seeds)
        spent = trained(self.in_order) + plan.updates * len(
            list((self.directory / "final").glob("*/test-*.json"))
        )
        left = seconds * max(0, total - spent) / max(1, self.spent_now)
        self.report(SearchProgress(len(self.done), spent / total, best[0] if best else None, last, left))


def finalists(trials: list[Trial], plan: Plan) -> list[Trial]:
    """The best candidates, best first, each once; those that were trained longest come before all others."""
    longest = max((t.updates for t in trials), default=0)
    there = [t for t in trials if t.updates == longest and math.isfinite(t.score)]
    there = list({t.identity: t for t in there}.values())
    costs = None if plan.cost is None else [t.cost(plan.cost) for t in there]
    return [there[i] for i in order([t.score for t in there], costs)[: plan.finalists]]


def trained(trials: list[Trial]) -> int:
    """Meta-updates of all trials together; those that a candidate went on from count once."""
    return sum({t.identity: t.updates for t in sorted(trials, key=lambda t: t.updates)}.values())


def folder(genes: Genes) -> str:
    """The name of a candidate's folder."""
    return hashlib.sha256(identity(genes).encode()).hexdigest()[:8]


def joined(tests: list[Evaluation], label: str) -> Evaluation:
    """Evaluations of one learner's seeds as one."""

    def rows(name: str) -> Any:
        arrays = [getattr(test, name) for test in tests]
        return None if arrays[0] is None else np.concatenate(arrays)

    return dataclasses.replace(
        tests[0], label=label, returns=rows("returns"), lengths=rows("lengths"), successes=rows("successes"),
        training_env_steps=[n for test in tests for n in test.training_env_steps],
        training_seconds=[s for test in tests for s in test.training_seconds],
    )  # fmt: skip


def _open(plan: Plan, directory: Path) -> None:
    """Writes search.json, or checks that it is this search's."""
    path, record = directory / "search.json", plan.record()
    if not path.is_file():
        if directory.is_dir() and any(directory.iterdir()):
            raise AdaptaxError(f"{directory} holds something else than a search; name another folder.")
        write_atomically(path, json.dumps({"format": FORMAT, **record, **circumstances()}, indent=2).encode())
        return
    try:
        before = json.loads(path.read_text())
    except ValueError:
        before = {}
    if not isinstance(before, dict) or before.get("format") != FORMAT:
        raise AdaptaxError(f"{path} is not the record of a search of this version; name another folder.")
    odd = [name for name in record if before.get(name) != record[name]]
    if odd:
        raise AdaptaxError(
            f"{directory} holds another search, which differs in {', '.join(odd)}; name another folder, or give the same command "
            "to go on with it."
        )
