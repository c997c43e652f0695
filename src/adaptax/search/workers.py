"""Trials in processes of their own: one that crashes, runs out of memory or is killed is a failed trial, not the end of the search.

Processes are spawned, never forked. Each keeps to its share of the processor's cores, and computes with as many threads.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import connection
from typing import Any, Protocol, runtime_checkable

from adaptax.collection.workers import exit_if_unguarded
from adaptax.errors import AdaptaxError, told

STOP_SECONDS = 10.0
"""How long a process may take to save what it has trained, before it is killed."""

Answer = tuple[str, Any]
"""("done", what the job gave), ("failed", a sentence) or ("interrupted", "")."""


class Interrupted(Exception):
    """A job stopped because it was asked to; what it trained is kept."""


@runtime_checkable
class Job(Protocol):
    """Picklable."""

    def run(self) -> Any:
        """The answer, picklable. Raises AdaptaxError where it fails, Interrupted where it was asked to stop."""
        ...


class Workers:
    """So many processes, each of which does one job at a time; 0: jobs are done in this process, one after another."""

    def __init__(self, number: int):
        exit_if_unguarded()
        self._processes = [_Process(i, number) for i in range(number)]
        self._here: list[tuple[Any, Answer]] = []
        self._number = number

    @property
    def free(self) -> bool:
        """Whether one more job can begin."""
        return not self._here if not self._number else any(p.label is None for p in self._processes)

    @property
    def busy(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._here) or any(p.label is not None for p in self._processes)

    def submit(self, label: Any, job: Job) -> None:
        """Begins a job; its answer will carry the label."""
        if not self._number:
            self._here.append((label, _answer(job)))
        else:
            next(p for p in self._processes if p.label is None).submit(label, job)

    def wait(self, seconds: float) -> list[tuple[Any, Answer]]:
        """The answers that have come, once there is one, or after so many seconds."""
        if not self._number:
            found, self._here = self._here, []
            return found
        busy = [p for p in self._processes if p.label is not None]
        connection.wait([p.pipe for p in busy], seconds)
        return [answered for p in busy if (answered := p.answered()) is not None]

    def interrupt(self) -> None:
        """Asks the jobs to save what they have and to stop."""
        for process in self._processes:
            process.interrupt()

    def close(self) -> None:
        for process in self._processes:
            process.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Process:
    def __init__(self, index: int, number: int):
        self._index, self._number = index, number
        self.label: Any = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, self._index, self._number))
        self._process.start()
        other.close()  # so that its end is seen here

    def submit(self, label: Any, job: Job) -> None:
        if not self._process.is_alive():
            self._start()
        self.label = label
        try:
            self.pipe.send(job)
        except (BrokenPipeError, ConnectionResetError):
            pass  # seen by `answered`
        except Exception as error:
            self.label = None
            raise AdaptaxError(
                f"The family or the learner cannot be sent to another process ({type(error).__name__}: {error}); define it at the "
                "top level of a module, or search with --workers 0."
            ) from error

    def answered(self) -> tuple[Any, Answer] | None:
        try:
            if not self.pipe.poll():
                return None
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(STOP_SECONDS)
            code = self._process.exitcode
            how = (
                f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
            )
            answer = ("failed", f"its process {how}")
            self._start()
        label, self.label = self.label, None
        return label, answer

    def interrupt(self) -> None:
        if self.label is not None and self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid or 0, signal.SIGTERM)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        if self.label is not None:
            self.interrupt()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()


def _work(pipe: connection.Connection, index: int, number: int) -> None:
    """In the process: job after job, until there is none, or the searching process has gone."""
    cores = (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )
    mine = cores[index % len(cores) :: number] or cores[:1]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, mine)
    os.environ["NPROC"] = str(len(mine))  # threads of XLA's pool, which starts with the first computation
    # Ctrl-C reaches all processes of a terminal; between two jobs the searching process alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        if job is None:
            return
        answer = _answer(job)
        with contextlib.suppress(OSError):
            pipe.send(answer)


def _answer(job: Job) -> Answer:
    """Of one job."""
    import jax  # not sooner: threads are counted when it starts

    try:
        return "done", job.run()
    except Interrupted:
        return "interrupted", ""
    except AdaptaxError as error:
        return "failed", str(error)
    except Exception as error:
        return "failed", told(error)
    finally:
        jax.clear_caches()  # the next job's programs are others
