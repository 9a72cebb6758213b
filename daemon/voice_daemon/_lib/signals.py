"""Signals from the program's first instant, until the part that acts on them is there.

Imports nothing that the interpreter has not loaded already, but for `signal`.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any, Final, Self

TYPE_CHECKING = False  # as typing's, which takes longer to load than all of this

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HELD_BACK: Final = (*SIGNALS, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that the app's launcher passes on (launchd/launcher.c)."""


class StopRequested(BaseException):
    """A signal asked the program to end before it had begun. No `except Exception` may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number if number == signal.SIGINT else 0


class EarlySignals:
    """Handlers for the time before there are others. `reload`: a SIGHUP came; `stop`: which signal.

    Without them SIGTERM would end the program with an exit code that launchd takes for a crash,
    SIGHUP would end it as well, and SIGINT would print a traceback.
    """

    def __init__(self, *, wanted: bool = False) -> None:
        self.reload = False
        self.stop: int | None = None
        self._wanted = wanted
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals, if that is wanted; on the main thread alone, others cannot."""
        if self._wanted:
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
            accept_signals()
        return self

    def __exit__(self, *_: object) -> None:
        """Give Ctrl-C back; the others would put their exit code in the place of the program's.

        Some tenths of a second pass until the interpreter is gone.
        """
        for number, handler in self._before.items():
            signal.signal(number, handler if number == signal.SIGINT else signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not in_a_terminal():
            self.reload = True
            return
        # Noted as well: raised in a callback of C code, an exception is printed and forgotten.
        self.stop = number
        raise StopRequested(number)


def in_a_terminal() -> bool:
    """Tell whether SIGHUP means that a terminal was closed, and the program with it."""
    try:
        return sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno())
    except (OSError, ValueError):  # standard input is closed
        return False


def accept_signals() -> None:
    """Let signals through that a launcher held back until this process has its handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
