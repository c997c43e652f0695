"""How much of a training's time JAX took for compilation, wherever that happened."""

from __future__ import annotations

import time

import jax

EVENTS = "/jax/core/compile/"
"""What JAX calls the durations of tracing, lowering and compiling; a program that is read from the cache counts as compiled."""


class Compilation:
    """While entered, adds up the seconds in which JAX compiles."""

    def __init__(self):
        self._spans: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        """Until now."""
        return sum((end - begin for begin, end in self._spans), start=0.0)

    def __enter__(self) -> Compilation:
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def _heard(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if not event.startswith(EVENTS):
            return
        end = time.perf_counter()
        begin = end - duration_secs
        # What is traced while something else is traced has been told before: its seconds count once.
        while self._spans and self._spans[-1][1] > begin:
            begin = min(begin, self._spans.pop()[0])
        self._spans.append((begin, end))

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._heard)
