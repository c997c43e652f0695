"""Waiting for a computation with open ears: signals are heard, and one that never answers is given up."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from adaptax.errors import AdaptaxError

POLL_SECONDS = 0.002
MOST_BETWEEN_POLLS = 1.0
"""Seconds between two polls that count as waiting."""
PATIENCE_SECONDS = 600.0
"""A computation is never given up sooner."""


def await_answer(answer: Any, patience_seconds: float, each_poll: Callable[[], None]) -> None:
    """Returns when `answer`, an array, has been computed; `each_poll` is called while it is not.

    Blocking inside JAX instead would hold signals back until the computation ends, and rarely, on a loaded machine, a thread of
    it sleeps for good. Raises AdaptaxError where no answer has come for `patience_seconds`.
    """
    waited, before = 0.0, time.perf_counter()
    try:
        while not answer.is_ready():
            time.sleep(POLL_SECONDS)
            each_poll()
            now = time.perf_counter()
            # While this process was stopped (Ctrl-Z) or starved, so was the computation.
            waited, before = waited + min(now - before, MOST_BETWEEN_POLLS), now
            if waited > patience_seconds:
                raise AdaptaxError(
                    f"The computation has not answered for {patience_seconds:.0f} s and was given up; what was finished "
                    "before is kept: resume it."
                )
    except BaseException:
        atexit.register(_leave)
        raise


def _leave() -> None:
    """Ends the process without waiting for a computation that was given up, as the interpreter would."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
