"""Ctrl-C and termination as a flag that long work reads when it can stop cleanly."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """While entered, SIGINT and SIGTERM set `asked` instead of ending the process; a second SIGINT ends it at once.

    Outside the main thread, where Python delivers no signals, `asked` stays False.
    """

    asked: bool = False

    def __enter__(self) -> Interrupts:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
