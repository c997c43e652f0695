"""Ctrl-C and termination as a flag that long work reads when it can stop cleanly."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, SIGINT and SIGTERM set `asked` instead of ending the process; a second SIGINT ends it at once.

    Python hears signals between two of its own instructions: not before a program is compiled, which may take a minute. `tell` is
    called by a thread beside, as soon as the first signal comes, so that somebody who waits can be told what for.

    Outside the main thread, where Python delivers no signals, `asked` stays False.
    """

    asked: bool = False

    def __init__(self, tell: Callable[[], None] = lambda: None):
        self._tell = tell

    def __enter__(self) -> Interrupts:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._ear, self._mouth = socket.socketpair()
            self._mouth.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            for number in NUMBERS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def _listen(self) -> None:
        """Reads what the interpreter writes the moment a signal comes: its number."""
        while heard := self._ear.recv(1):
            if heard[0] in NUMBERS:
                self._tell()
                return

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup)
            self._mouth.close()  # which ends the listener
            # Not for ever: what is told may wait for this very thread.
            self._listener.join(timeout=1.0)
            self._ear.close()
