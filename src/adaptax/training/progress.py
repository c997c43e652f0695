"""Progress as plain lines: what a script, a log file or a notebook shows."""

from __future__ import annotations

import dataclasses
import math
import sys
import time


@dataclasses.dataclass
class Progress:
    """What is known between two dispatches; handed to a `report` function."""

    run: str
    """The algorithm and the seed."""
    phase: str
    """"compiling", "training", "stopping" (a signal has come, and what is under way is being finished; told from another thread),
    "done" or "interrupted"."""
    updates: int
    target: int
    env_steps: int
    steps_per_second: float
    """Of this sitting, learning included; NaN before the first update."""
    seconds: float
    seconds_left: float
    """NaN before the first update."""
    returns: float
    """Mean return of a stream in the last round of the last meta-update."""
    measure: str
    """What `returns` are: "return" or, on supervised tasks, "accuracy" or "−squared error"."""
    metrics: dict[str, int | float]
    """The last row of metrics.jsonl."""
    compile_seconds: float = 0.0
    """What compilation took in this sitting: before its first update, or within it where environments are stepped by processes."""


def describe(progress: Progress) -> str:
    """One line."""
    p = progress
    if p.phase == "compiling":
        return f"{p.run}: compiling (once; kept for the next time) ..."
    if p.phase == "stopping":
        return f"{p.run}: interrupted; stops when the compilation or the meta-update that is under way has ended ..."
    unit = "steps" if p.measure == "return" else "examples"
    parts = [f"{p.updates}/{p.target} meta-updates", f"{p.env_steps:,} {unit}"]
    if math.isfinite(p.steps_per_second):
        parts.append(f"{p.steps_per_second:,.0f} {unit}/s")
    if math.isfinite(p.returns):
        # An error is told as such, though runs keep it with a minus, as higher is better for all measures.
        sign, measure = (-1.0, p.measure[1:]) if p.measure.startswith("−") else (1.0, p.measure)
        before = p.metrics.get("return_before_adaptation")
        of_before = "" if before is None else f" (before adaptation {sign * before:.2f})"
        parts.append(f"{measure} {sign * p.returns:.2f}{of_before}")
    if p.phase == "done" and p.compile_seconds:
        parts.append(f"{p.seconds:.0f} s and {p.compile_seconds:.1f} s of compilation")
    if p.phase == "training" and math.isfinite(p.seconds_left):
        parts.append(f"{p.seconds_left:.0f} s left")
    return f"{p.run}: {p.phase} " + " · ".join(parts)


class PlainProgress:
    """A line to standard error every few seconds, and at every change of phase."""

    def __init__(self, every_seconds: float = 5.0):
        self._every, self._last, self._phase = every_seconds, -math.inf, ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase != self._phase or now - self._last >= self._every:
            print(describe(progress), file=sys.stderr, flush=True)
            self._last, self._phase = now, progress.phase


def silent(progress: Progress) -> None:
    """Shows nothing."""
