"""The outermost loop: dispatches of the jitted meta-update, with progress, metrics, checkpoints and interrupts between."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adaptax import trees
from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config, check_hyperparameters
from adaptax.checkpoint import write_atomically
from adaptax.collection.workers import exit_if_unguarded
from adaptax.errors import AdaptaxError, short
from adaptax.tasks import registry as families
from adaptax.tasks.base import AnyFamily, HostFamily
from adaptax.training.cache import enable_compilation_cache
from adaptax.training.compilation import Compilation
from adaptax.training.host_program import HostProgram
from adaptax.training.interrupts import Interrupts
from adaptax.training.program import MOST_UPDATES, Dispatch, make_program
from adaptax.training.progress import PlainProgress, Progress
from adaptax.training.run import Run, changed_circumstances, load_run, read_metrics
from adaptax.training.waiting import PATIENCE_SECONDS, await_answer

DISPATCH_SECONDS = 0.7
"""About how long one dispatch should take: the longest wait between Ctrl-C and a clean stop."""
CHECKPOINT_SECONDS = 30.0
MOST_SEEDS = 2**31
"""Seeds are folded into keys as 32-bit numbers."""


Report = Callable[[Progress], None]


def train(
    config: Config,
    family: AnyFamily,
    updates: int,
    seed: int = 0,
    directory: Path | str | None = None,
    report: Report | None = None,
    name: str | None = None,
) -> Run:
    """Meta-trains a learner for `updates` meta-updates, and returns it.

    `name` is what the run records as its algorithm (None: the registry's nearest). `report` is told the progress (None:
    lines on standard error; `silent`: nothing).
    With a `directory` all of it is kept there, and an interrupted run can be resumed; without, nothing is written.
    A run there that never got to its first meta-update is replaced.
    Raises AdaptaxError where the directory already holds a run, or training diverges (the last good state is kept).
    """
    exit_if_unguarded()
    check_types(config, family)
    if updates < 0:
        raise AdaptaxError(f"updates must be 0 or more, not {updates}.")
    if not 0 <= seed < MOST_SEEDS:
        raise AdaptaxError(f"seed must be from 0 to {MOST_SEEDS - 1}, not {seed}.")
    directory = None if directory is None else Path(directory)
    if directory is not None and directory.exists() and not directory.is_dir():
        raise AdaptaxError(f"{directory} is a file, not a folder; name another.")
    if directory is not None and any(directory.glob("checkpoints/*[1-9]*.safetensors")):
        if (directory / "config.json").exists():
            raise AdaptaxError(f"{directory} already holds a run: resume it, or name another folder.")
        raise AdaptaxError(
            f"{directory} holds the checkpoints of a run whose config.json is gone: restore it, or name another folder."
        )
    check_hyperparameters(config)
    enable_compilation_cache()
    algorithm = config.build(family.spec)
    if algorithm.learner.told and family.spec.features == 0:
        raise AdaptaxError(
            f"The family '{family.spec.name}' tells no features of its tasks, so that there is nothing to tell an oracle; "
            "give it a method features(task)."
        )
    state = trees.strongly_typed(algorithm.init(jax.random.key(seed)))
    run = Run(
        name or algorithms.name_of(config), config, family.spec, families.describe(family), seed, state, directory,
        _family=family, _algorithm=algorithm,
    )  # fmt: skip
    if directory is not None:
        run.save(updates)
        run.write_config()  # last, so that a folder with a configuration can always be resumed
    return _continue(run, updates, report or PlainProgress())


def check_types(config: Any, family: Any) -> None:
    """AdaptaxError where the learner or the family is not one."""
    if isinstance(config, type) or not isinstance(config, Config):
        raise AdaptaxError(
            f"The learner must be a configuration such as ax.MAML() or ax.RL2(hidden=64), not {short(config)}."
        )
    if not isinstance(family, AnyFamily):
        raise AdaptaxError(
            "The family must be one such as ax.tasks.PointNavigation(), or ax.tasks.GymnasiumFamily(YourClass()) around a "
            f"class with sample and make, not {short(family)}."
        )


def train_or_resume(
    config: Config, family: AnyFamily, updates: int, seed: int, directory: Path, report: Report | None = None
) -> Run:
    """As `train`; where the directory holds this very run already, goes on with it if it has fewer meta-updates.

    Raises AdaptaxError where it holds another run.
    """
    if not (directory / "config.json").exists():
        return train(config, family, updates, seed, directory, report)
    run, _ = load_run(directory, family)
    record = json.loads(json.dumps(families.describe(family)))
    if (run.config, run.family_record, run.seed) != (config, record, seed):
        raise AdaptaxError(
            f"{directory} holds another run ({run.label}, seed {run.seed}); name another folder."
        )
    return run if run.updates >= updates else resume(directory, updates, family, report)


def resume(
    directory: Path | str,
    updates: int | None = None,
    family: AnyFamily | None = None,
    report: Report | None = None,
) -> Run:
    """Goes on with an interrupted run up to `updates` meta-updates in all (None: as many as it was started for).

    On a JAX family the result is bit-equal to that of a run that was never interrupted. Metrics after the
    checkpoint are cut off and made again.
    """
    exit_if_unguarded()
    enable_compilation_cache()
    run, target = load_run(directory, family)
    changed = changed_circumstances(Path(directory))
    if changed:
        print(
            f"Since this run began: {', '.join(changed)}. It goes on, but not bit for bit.", file=sys.stderr
        )
    return _continue(run, target if updates is None else updates, report or PlainProgress())


def _continue(run: Run, target: int, report: Report) -> Run:
    log = _Log(run, target, report)
    if run.algorithm.keeps_on_disk:
        if run.directory is None:
            raise AdaptaxError(
                "A store on disk lies in the run's folder; give the run a directory, or leave on_disk out."
            )
        run.algorithm.check_kept(run.state, run.directory)
    log.checkpoint()
    if run.updates >= target:
        log.report("done")
        return run
    log.report("compiling")
    program = _program(run)
    try:
        with Interrupts(lambda: log.report("stopping")) as interrupts, Compilation() as compilation:
            _dispatches(run, target, program, log, interrupts, compilation)
            log.checkpoint()
    except BaseException as error:
        with contextlib.suppress(AdaptaxError):  # a disk that is full has been told of already
            log.checkpoint()
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            raise AdaptaxError(
                "Memory does not suffice for one meta-update; take fewer tasks or streams, or shorter episodes."
            ) from None
        raise
    finally:
        if isinstance(program, HostProgram):
            program.close()
    log.report("interrupted" if run.updates < target else "done")
    return run


def _dispatches(
    run: Run, target: int, program: Callable[..., Dispatch], log: _Log, interrupts: Interrupts, compilation: Compilation
) -> None:  # fmt: skip
    """Dispatch after dispatch, until the target is reached or a signal asks to stop."""
    algorithm = run.algorithm
    started = time.perf_counter()
    jax.block_until_ready(program(algorithm, run.state, jnp.zeros((), jnp.int32)).done)
    log.compile_seconds = time.perf_counter() - started
    per_dispatch, longest, heard = 1, float("inf"), False

    def hear() -> None:
        """What is finished is saved as soon as a signal comes: whoever sent it may not wait for the rest."""
        nonlocal heard
        if interrupts.asked and not heard:
            heard = True
            log.checkpoint()

    while run.updates < target and not interrupts.asked:
        count = min(per_dispatch, target - run.updates)
        started, before = time.perf_counter(), compilation.seconds
        dispatch = program(algorithm, run.state, jnp.array(count, jnp.int32))
        await_answer(dispatch.done, max(PATIENCE_SECONDS, 100 * longest), hear)
        done = int(dispatch.done)
        compiled = compilation.seconds - before  # by host programs, in their first meta-update
        log.compile_seconds += compiled
        seconds = max(0.0, time.perf_counter() - started - compiled)
        longest = seconds if longest == float("inf") else max(longest, seconds)
        run.state = dispatch.state
        log.add(dispatch, done, seconds)
        if algorithm.keeps_on_disk and done and run.directory is not None:
            run.state = algorithm.kept(run.state, run.directory)
            log.checkpoint()  # what is on disk is never more than one meta-update ahead
        if not bool(dispatch.finite):
            raise AdaptaxError(_divergence(run, dispatch, done))
        per_update = seconds / max(done, 1)
        if not algorithm.keeps_on_disk:
            per_dispatch = int(np.clip(DISPATCH_SECONDS / max(per_update, 1e-6), 1, MOST_UPDATES))
        log.report("training")
        if time.perf_counter() - log.saved_at > CHECKPOINT_SECONDS:
            log.checkpoint()


def _program(run: Run) -> Callable[..., Dispatch]:
    if isinstance(run.family, HostFamily):
        return HostProgram(run.family)
    return make_program(run.family)


def _divergence(run: Run, dispatch: Dispatch, done: int) -> str:
    bad = [name for name, values in dispatch.metrics.items() if not np.isfinite(np.asarray(values)[done])]
    what = f"{', '.join(bad)} became NaN or infinite" if bad else "the parameters became NaN or infinite"
    kept = f" The state before it is kept in {run.directory}." if run.directory else ""
    cure = (
        "lower inner_lr or lr, or bound the labels"
        if run.spec.supervised
        else "check the environment's rewards and observations"
        if "return" in bad
        else "lower the step size (lr) or bound the rewards"
    )
    return f"Training stopped at meta-update {run.updates + 1}: {what}; {cure}.{kept}"


class _Log:
    """Metrics, checkpoints and progress of one sitting."""

    def __init__(self, run: Run, target: int, report: Report):
        self.run, self.target, self._report = run, target, report
        self.compile_seconds = 0.0
        self.saved_at = time.perf_counter()
        self.last: dict[str, int | float] = {}
        self.pending: list[str] = []
        self._began = (run.updates, run.env_steps, run.seconds)
        if run.directory is not None:
            self._cut_metrics()

    def _cut_metrics(self) -> None:
        """Leaves the rows up to the checkpoint: what came after it is about to be made again."""
        directory = self.run.directory
        assert directory is not None
        rows = [row for row in read_metrics(directory) if row["update"] <= self.run.updates]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomically(directory / "metrics.jsonl", text.encode())
        self.last = rows[-1] if rows else {}

    def add(self, dispatch: Dispatch, done: int, seconds: float) -> None:
        """The metrics of a dispatch: a row per meta-update."""
        first = self.run.updates - done
        metrics = {name: np.asarray(values)[:done].tolist() for name, values in dispatch.metrics.items()}
        for i in range(done):
            row = {name: values[i] for name, values in metrics.items()}
            self.run.env_steps += int(row.pop("env_steps"))
            self.run.seconds += seconds / done
            counts = {
                "update": first + i + 1,
                "env_steps": self.run.env_steps,
                "seconds": round(self.run.seconds, 3),
            }
            self.last = counts | row
            self.pending.append(json.dumps(self.last) + "\n")

    def checkpoint(self) -> None:
        """Metrics first, then the state: rows without a checkpoint are cut on resume, never the reverse."""
        self.saved_at = time.perf_counter()
        directory = self.run.directory
        if directory is None:
            return
        try:
            with open(directory / "metrics.jsonl", "a") as file:
                file.writelines(self.pending)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AdaptaxError(
                f"Could not write {directory / 'metrics.jsonl'}: {error.strerror}. The last checkpoint is intact; "
                "make room, then resume."
            ) from None
        self.pending.clear()
        self.run.save(self.target)

    def report(self, phase: str) -> None:
        updates, steps, seconds = self._began
        spent = self.run.seconds - seconds
        done = self.run.updates - updates
        left = (self.target - self.run.updates) * spent / done if done else float("nan")
        rate = (self.run.env_steps - steps) / spent if spent else float("nan")
        returns = self.last.get("return", float("nan"))
        self._report(
            Progress(
                f"{self.run.algorithm_name}, seed {self.run.seed}",
                phase,
                self.run.updates,
                self.target,
                self.run.env_steps,
                rate,
                self.run.seconds,
                left,
                returns,
                self.run.spec.measure,
                self.last,
                self.compile_seconds,
            )
        )
