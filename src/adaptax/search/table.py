"""A table of every architecture of a small space, each trained with several seeds: searches are then read from it.

Ying et al. 2019 (arXiv 1902.09635), NAS-Bench-101. What a strategy finds depends on luck, so that strategies compare over many
repeats, which nobody can train. Every candidate is trained once for each seed, scored on validation tasks after some shares of
the full training, and on test tasks in the end; a repeat of a search then reads what it would have trained. Searches see
validation scores alone, of one seed; what they found is judged by test scores of the other seeds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import trees
from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config
from adaptax.checkpoint import write_atomically
from adaptax.errors import AdaptaxError
from adaptax.evaluation.evaluate import EVALUATION_SEED, evaluate
from adaptax.search.cost import parameters
from adaptax.search.record import Trial
from adaptax.search.space import Genes, Space, identity, settings
from adaptax.search.strategy import Request, Strategy
from adaptax.search.trial import VALIDATION_SEED, parts, scored
from adaptax.search.workers import Interrupted, Workers
from adaptax.tasks import registry as families
from adaptax.tasks.base import JaxFamily
from adaptax.training.cache import enable_compilation_cache
from adaptax.training.interrupts import Interrupts
from adaptax.training.program import MOST_UPDATES, make_program
from adaptax.training.run import Run

LOOK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Entry:
    """One architecture, of S seeds and R shares of a full training."""

    genes: Genes | None
    """None: the one made by hand."""
    validation: list[list[float]]
    """[S, R]"""
    test: list[float]
    """[S], after the full training."""
    parameters: int
    env_steps: list[int]
    """[S], of the full training."""


@dataclasses.dataclass(frozen=True)
class Table:
    """What the searches are read from."""

    space: Space
    updates: tuple[int, ...]
    """After which candidates are scored; the last is a full training."""
    seeds: int
    entries: list[Entry]
    """Of the whole space."""
    by_hand: Entry


@dataclasses.dataclass(frozen=True)
class EntryJob:
    """Trains and scores one architecture."""

    config: Config
    genes: Genes | None
    family: JaxFamily
    updates: tuple[int, ...]
    seeds: int
    tasks: int
    score: str = "adapted"

    def run(self) -> Entry:
        """One program for all seeds. A training that diverges goes no further: what was finite last is scored."""
        enable_compilation_cache()
        (fit, validated_on), algorithm = parts(self.family), self.config.build(self.family.spec)
        assert isinstance(fit, JaxFamily)
        program, validation, test, steps, found = make_program(fit), [], [], [], None
        with Interrupts() as interrupts:
            for seed in range(self.seeds):
                state = trees.strongly_typed(algorithm.init(jax.random.key(seed)))
                name, record = algorithms.name_of(self.config), families.describe(self.family)
                run = Run(
                    name,
                    self.config,
                    self.family.spec,
                    record,
                    seed,
                    state,
                    _family=fit,
                    _algorithm=algorithm,
                )
                validation.append([])
                diverged = False
                for updates in self.updates:
                    while run.updates < updates and not diverged:
                        count = jnp.array(min(MOST_UPDATES, updates - run.updates), jnp.int32)
                        dispatch = program(algorithm, run.state, count)
                        if interrupts.asked:
                            raise Interrupted
                        diverged = not bool(dispatch.finite)
                        run.env_steps += int(
                            np.asarray(dispatch.metrics["env_steps"])[: int(dispatch.done)].sum()
                        )
                        run.state = dispatch.state
                    result = evaluate(run, "train", self.tasks, family=validated_on, seed=VALIDATION_SEED)
                    validation[-1].append(scored(result)[self.score])
                result = evaluate(run, "test", self.tasks, family=self.family, seed=EVALUATION_SEED)
                test.append(scored(result)[self.score])
                steps.append(run.env_steps)
                found = parameters(run)
        return Entry(self.genes, validation, test, found or 0, steps)


def build_table(
    config: Config, family: JaxFamily, space: Space, updates: tuple[int, ...], seeds: int, tasks: int, directory: Path,
    workers: int = 2, report: Callable[[int, int], None] = lambda done, total: None,
) -> Table:  # fmt: skip
    """The table, of which the architectures that stand in the directory's table.jsonl already are not trained again.

    KeyboardInterrupt where it was interrupted.
    """
    path, wanted = directory / "table.jsonl", [None, *space.all()]
    header = json.loads(json.dumps({
        "config": dataclasses.asdict(config), "family": families.describe(family), "updates": updates,  # type: ignore[call-overload]
        "seeds": seeds, "tasks": tasks,
    }))  # fmt: skip
    there = _read(path, header)
    records = [header, *(dataclasses.asdict(entry) for entry in there.values())]
    # Anew, for a last line that a crash cut off would be gone on with.
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records).encode())
    left = [genes for genes in wanted if _name(genes) not in there]
    with Workers(workers) as pool, Interrupts() as interrupts:
        while left or pool.busy:
            while left and pool.free and not interrupts.asked:
                genes = left.pop(0)
                of = config if genes is None else dataclasses.replace(config, **settings(genes))  # type: ignore[type-var]
                pool.submit(genes, EntryJob(of, genes, family, updates, seeds, tasks))
            if interrupts.asked:
                left = []
                pool.interrupt()
            for genes, (state, found) in pool.wait(LOOK_SECONDS):
                if state == "failed" and not interrupts.asked:
                    raise AdaptaxError(
                        f"The training of {genes or 'the architecture made by hand'} failed: {found}"
                    )
                if state == "done":
                    there[_name(genes)] = found
                    with open(path, "a") as file:
                        file.write(json.dumps(dataclasses.asdict(found)) + "\n")
                    report(len(there), len(wanted))
                elif state == "interrupted":
                    left, interrupts.asked = [], True
        if interrupts.asked:
            raise KeyboardInterrupt
    return Table(space, updates, seeds, [there[_name(genes)] for genes in space.all()], there[_name(None)])


def searched(
    table: Table, strategy: Strategy, trials: int, seed: int, repeat: int, cost: str | None = None
) -> list[Trial]:
    """The trials that a search would have made, one after another: `seed` of the table trains, `repeat` throws the dice."""
    entries = {identity(entry.genes): entry for entry in table.entries if entry.genes is not None}
    history: list[Trial] = []
    met: set[str] = set()
    while True:
        request = Request(table.space, trials, table.updates[-1], len(history), history, met, cost)
        proposal = strategy.propose(request, np.random.default_rng([repeat, len(history)]))
        if proposal is None:
            return history
        # A strategy may stop between two scores of the table: it reads the earlier one, and pays for what it asked.
        rung = max(0, int(np.searchsorted(table.updates, proposal.updates, "right")) - 1)
        entry = entries[identity(proposal.genes)]
        met.add(identity(proposal.genes))
        score = entry.validation[seed][rung]
        history.append(Trial(len(history), proposal.genes, proposal.updates, score, entry.parameters))


def others_test(entry: Entry, seed: int) -> float:
    """The mean test score of the trainings that a search with this seed has not seen."""
    return float(np.mean([score for s, score in enumerate(entry.test) if s != seed]))


def entry_of(table: Table, genes: Genes) -> Entry:
    return next(e for e in table.entries if e.genes is not None and identity(e.genes) == identity(genes))


def _name(genes: Genes | None) -> str:
    return "" if genes is None else identity(genes)


def _read(path: Path, header: dict[str, Any]) -> dict[str, Entry]:
    if not path.is_file():
        return {}
    lines: Sequence[str] = path.read_text().splitlines()
    if not lines or json.loads(lines[0]) != header:
        raise AdaptaxError(f"{path} is a table of another learner, family or budget; name another folder.")
    entries = [Entry(**json.loads(line)) for line in lines[1:] if line.endswith("}")]
    return {_name(entry.genes): entry for entry in entries}
