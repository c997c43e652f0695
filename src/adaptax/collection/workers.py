"""Environments in worker processes: one message to each process and one back per tick.

A process that dies or hangs is replaced, and what it was doing is reported as failed. Processes are spawned, never forked:
forking a process in which JAX runs threads can deadlock. Nothing here imports JAX, so that they start fast.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from adaptax.collection.slots import Orders, Report, Slots
from adaptax.errors import AdaptaxError, short, told

UNGUARDED = 77
"""Exit code of a worker in which the user's script, imported again, tried to start workers of its own."""
START_SECONDS = 120.0
"""How long a process may take to start and to import the user's modules."""
STOP_SECONDS = 2.0
"""How long processes may take to close their environments before they are killed."""
LONGEST_WAIT_SECONDS = 1.0
"""The longest that one call waits for an answer before it looks around."""


class WorkerPool:
    """Processes that hold the slots' environments, several each. A context manager; `close` ends them all."""

    def __init__(self, family: Any, workers: int | None = None):
        """Starts the processes for a `HostFamily`.

        `workers`: how many; None: as many as the family asks for, or one per processor core; 0: environments step in this
        process, which survives their exceptions, but not their crashes, and waits for them however long they take.
        Raises AdaptaxError where the family cannot be sent to a process, or the script lacks its `__main__` guard.
        """
        exit_if_unguarded()
        workers = family.workers if workers is None else workers
        timeout_seconds = family.timeout_seconds
        if timeout_seconds <= 0 or (workers is not None and workers < 0):
            raise AdaptaxError(
                f"workers must be 0 or more and the timeout above 0 s, not {workers} and {timeout_seconds:g} s."
            )
        self._workers: list[_Here | _Process] = []
        if workers == 0:
            self._workers.append(_Here(family.maker))
            return
        maker = _pickled(
            family.maker,
            "The family cannot be sent to worker processes",
            "define its class at the top level of a module, without locks, open files or lambdas, or set `workers = 0` in it",
        )
        processes = []
        try:
            for _ in range(workers or _cores()):
                processes.append(_Process(maker, timeout_seconds))
                self._workers.append(processes[-1])
            for process in processes:
                process.await_start()
        except BaseException:
            self.close()
            raise

    def assign(self, tasks: Sequence[Any]) -> None:
        """Slot i holds tasks[i] from now on, with no episode begun."""
        cure = "let sample() return plain data, and build the rest in make(task)"
        pickled = [
            _pickled(task, f"The task {short(task)} cannot be sent to worker processes", cure)
            for task in tasks
        ]
        for i, worker in enumerate(self._workers):
            worker.assign(dict(list(enumerate(pickled))[i :: len(self._workers)]))

    def tick(self, begin: dict[int, int], advance: np.ndarray, actions: np.ndarray) -> Report:
        """Begins an episode in some slots (slot -> seed), takes a step in others, and returns when all have answered."""
        n = len(self._workers)
        asked = []
        for i, worker in enumerate(self._workers):
            mine = advance % n == i
            orders = Orders(
                {s: seed for s, seed in begin.items() if s % n == i}, advance[mine], actions[mine]
            )
            if orders.begin or len(orders.advance):
                worker.send(orders)
                asked.append(worker)
        answers = [worker.receive() for worker in asked]
        for answer in answers:
            if isinstance(answer, AdaptaxError):
                raise answer
        return Report.joined(answers)

    def close(self) -> None:
        """Closes the environments and ends the processes."""
        for worker in self._workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.stop(max(0.0, deadline - time.monotonic()))
        self._workers = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def exit_if_unguarded() -> None:
    """Ends this process, silently, where it is a worker that still imports the user's script.

    A script without `if __name__ == "__main__":` comes here in every worker that it starts; the parent then says so.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)


class _Here:
    """The worker that is this process."""

    def __init__(self, maker: Any):
        self._slots = Slots(maker)

    def assign(self, tasks: dict[int, bytes]) -> None:
        self._slots.assign(tasks)

    def send(self, orders: Orders) -> None:
        self._orders = orders

    def receive(self) -> Report | AdaptaxError:
        try:
            return self._slots.tick(self._orders)
        except AdaptaxError as error:
            return error

    def ask_to_stop(self) -> None:
        self._slots.close()

    def stop(self, patience_seconds: float) -> None:
        """Nothing is left to end."""


class _Process:
    """A worker process, started anew whenever it dies or hangs."""

    def __init__(self, maker: bytes, timeout_seconds: float):
        self._maker, self._timeout = maker, timeout_seconds
        self._tasks: dict[int, bytes] = {}
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # The slot whose code runs (-1: none), and how many pieces of it have been begun.
        self._at = context.RawArray("q", [-1, 0])
        self._process = context.Process(target=_serve, args=(theirs, self._at), daemon=True)
        with _interrupts_held(), theirs:
            self._process.start()
        with contextlib.suppress(OSError):  # it may be dead already; await_start says so
            self._connection.send_bytes(self._maker)

    def await_start(self) -> None:
        """Raises AdaptaxError where the process did not come up."""
        answer = self._answer(START_SECONDS)
        if isinstance(answer, AdaptaxError):
            raise answer
        if isinstance(answer, str):
            guard = 'put what your script runs under `if __name__ == "__main__":`'
            if self._process.exitcode == UNGUARDED:
                raise AdaptaxError(
                    "Worker processes import your script again, and this one would start its work anew in each of them; "
                    f"{guard}."
                )
            raise AdaptaxError(
                f"A worker process could not start: {answer}. What it printed stands above; {guard}, or set "
                "`workers = 0` in your class."
            )

    def assign(self, tasks: dict[int, bytes]) -> None:
        self._tasks = tasks
        self._send(tasks)

    def send(self, orders: Orders) -> None:
        self._orders = orders
        self._send(orders)

    def receive(self) -> Report | AdaptaxError:
        """What came of the orders sent; where the process was lost, all of them failed and it has been replaced."""
        answer = self._answer(self._timeout)
        if not isinstance(answer, str):
            return answer
        guilty = self._at[0]
        slots = [*self._orders.begin, *self._orders.advance.tolist()]
        self.stop(0.0)
        self._start()
        self.await_start()
        self._send(self._tasks)
        return Report.of({}, {slot: answer if guilty in (slot, -1) else None for slot in slots})

    def ask_to_stop(self) -> None:
        self._send(None)

    def stop(self, patience_seconds: float) -> None:
        self._process.join(patience_seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._connection.close()

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # it is dead; receiving will tell
            self._connection.send(message)

    def _answer(self, timeout_seconds: float) -> Any:
        """The next message, or a string that says how the process was lost."""
        begun, deadline = self._at[1], time.monotonic() + timeout_seconds
        while True:
            try:
                # In short waits: a signal that comes just before one begins would be heard only at its end.
                if self._connection.poll(min(timeout_seconds, LONGEST_WAIT_SECONDS)):
                    return self._connection.recv()
            except (EOFError, OSError):
                self._process.join(STOP_SECONDS)
                return f"its process ended with exit code {self._process.exitcode}"
            if self._at[1] != begun:
                begun, deadline = self._at[1], time.monotonic() + timeout_seconds
            elif time.monotonic() >= deadline:
                return f"no answer came within {timeout_seconds:g} s"


def _serve(connection: Connection, at: Any) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def entering(slot: int) -> None:
        at[0] = slot
        at[1] += 1

    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        maker = connection.recv_bytes()
        try:
            slots = Slots(pickle.loads(maker), entering)
        except Exception as error:
            connection.send(
                AdaptaxError(
                    f"A worker process could not load the family ({told(error)}); define its class in a module that can "
                    "be imported, not at a prompt or in a notebook, or set `workers = 0` in your class."
                )
            )
            return
        connection.send(None)
        with contextlib.closing(slots):
            while (message := connection.recv()) is not None:
                if not isinstance(message, Orders):
                    slots.assign(message)
                    continue
                try:
                    answer = slots.tick(message)
                except AdaptaxError as error:
                    answer = error
                connection.send(answer)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile: a process started under this block keeps it until it has said what it does about one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pickled(value: Any, fault: str, cure: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise AdaptaxError(f"{fault} ({type(error).__name__}: {error}); {cure}.") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
