"""Environments of several streams, stepped in one process.

Imports no JAX, so that worker processes start fast.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from adaptax.errors import AdaptaxError, told

Answer = tuple[np.ndarray, float, bool, bool, bool]
"""(true next observation float32[D], reward, terminated, truncated, success) of a step."""


class HostEnv(Protocol):
    """One task's environment as a slot holds it."""

    def reset(self, seed: int) -> np.ndarray:
        """Begins an episode; the first observation, float32[D]."""
        ...

    def step(self, action: np.ndarray | np.generic) -> Answer:
        """One step; `action` is flat and in the environment's own units."""
        ...

    def close(self) -> None: ...


class Orders(NamedTuple):
    """What the slots are to do in one tick."""

    begin: dict[int, int]
    """Slot -> seed: begin an episode."""
    advance: np.ndarray
    """int[n], the slots that take a step."""
    actions: np.ndarray
    """[n, ...] in the environments' units."""


class Report(NamedTuple):
    """What came of it, for the slots that did as ordered; those that began an episode have an observation only."""

    slots: np.ndarray
    """int[n]"""
    obs: np.ndarray
    """float32[n, D]"""
    reward: np.ndarray
    """float32[n]"""
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    failures: dict[int, str | None]
    """Slot -> what went wrong; None where the slot was lost through another's fault."""

    @staticmethod
    def of(done: dict[int, Answer], failures: dict[int, str | None]) -> Report:
        """From each slot's answer."""
        columns = list(zip(*done.values(), strict=True)) or [[]] * 5
        dtypes = (np.float32, np.float32, np.bool_, np.bool_, np.bool_)
        with np.errstate(over="ignore"):  # the collector reports an infinity with its task
            obs, reward, *flags = (np.array(c, dtype) for c, dtype in zip(columns, dtypes, strict=True))
        terminated, truncated, success = flags
        return Report(np.array(list(done), int), obs, reward, terminated, truncated, success, failures)

    @staticmethod
    def joined(reports: list[Report]) -> Report:
        """The reports of several workers as one."""
        failures = {slot: message for report in reports for slot, message in report.failures.items()}
        filled = [report for report in reports if len(report.slots)]
        if not filled:
            return Report.of({}, failures)
        columns = {name: np.concatenate([getattr(r, name) for r in filled]) for name in Report._fields[:-1]}
        return Report(**columns, failures=failures)


class Slots:
    """A slot holds the environment of one stream.

    Its task, the moments at which its episodes begin, and their seeds are told from outside, so that no two slots draw
    the same random numbers.
    """

    def __init__(self, make: Callable[[Any], HostEnv], entering: Callable[[int], None] = lambda slot: None):
        """`entering(slot)` is called before the user's code is run for a slot, `entering(-1)` after the last."""
        self._make, self._entering = make, entering
        self._tasks: dict[int, bytes] = {}
        self._envs: dict[int, HostEnv] = {}

    def assign(self, tasks: dict[int, bytes]) -> None:
        """The slots' tasks from now on, pickled. The environments of earlier ones are closed."""
        self.close()
        self._tasks = tasks

    def tick(self, orders: Orders) -> Report:
        """Does what is ordered. An environment that raises is dropped, and made anew for its next episode.

        Raises AdaptaxError where the fault is one that no repetition mends.
        """
        done: dict[int, Answer] = {}
        failures: dict[int, str | None] = {}
        actions = dict(zip(orders.advance.tolist(), orders.actions, strict=True))
        for slot in [*orders.begin, *actions]:
            if slot in actions and slot not in self._envs:
                failures[slot] = None  # an earlier process held its environment
                continue
            self._entering(slot)
            try:
                if slot in actions:
                    done[slot] = self._envs[slot].step(actions[slot])
                else:
                    done[slot] = (self._begin(slot, orders.begin[slot]), 0.0, False, False, False)
            except AdaptaxError:
                raise
            except (Exception, SystemExit) as error:
                failures[slot] = told(error)
                self._drop(slot)
        self._entering(-1)
        return Report.of(done, failures)

    def close(self) -> None:
        """Closes all environments."""
        for slot in list(self._envs):
            self._drop(slot)

    def _begin(self, slot: int, seed: int) -> np.ndarray:
        if slot not in self._envs:
            self._envs[slot] = self._make(pickle.loads(self._tasks[slot]))
        return self._envs[slot].reset(seed)

    def _drop(self, slot: int) -> None:
        env = self._envs.pop(slot, None)
        if env is not None:
            with contextlib.suppress(Exception):  # an environment that cannot close is as good as closed
                env.close()
