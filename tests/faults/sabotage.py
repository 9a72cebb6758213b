"""`daemonctl` with one fault that no outside force can bring about; a program of its own.

`python sabotage.py FAULT ARGUMENTS...` breaks what FAULT names and goes on as the real program.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HANG_VARIABLE = "FAULTS_HANG_WHILE"
"""Names a file: while it exists, the recogniser does not come back from a step."""

CLOCK_VARIABLE = "FAULTS_CLOCK"
"""Names a file that says by how many seconds the wall clock is off."""


def with_fault(fault: str) -> tuple[str, ...]:
    """Give the program for a `DaemonProcess`."""
    return (sys.executable, __file__, fault)


def hang_name_server() -> None:
    """Let every question for a name wait for ever, as a resolver does without the GIL."""
    socket.getaddrinfo = lambda *_, **__: threading.Event().wait()  # type: ignore[assignment]


def hang_recogniser() -> None:
    """Let the model's steps hang for as long as a file exists."""
    from voice_daemon.asr import WhisperTranscriber  # noqa: PLC0415 - loads the recogniser

    flag = Path(os.environ[HANG_VARIABLE])
    step = WhisperTranscriber.step

    def hanging(self: WhisperTranscriber) -> object:
        while flag.exists():
            threading.Event().wait(0.05)
        return step(self)

    WhisperTranscriber.step = hanging  # type: ignore[assignment,method-assign]


def shift_clock() -> None:
    """Let the wall clock be off; libfaketime would do, were `time.sleep` not broken by it."""
    offset, true_time = Path(os.environ[CLOCK_VARIABLE]), time.time
    time.time = lambda: true_time() + float(offset.read_text())


FAULTS: dict[str, Callable[[], None]] = {
    "name server": hang_name_server,
    "recogniser": hang_recogniser,
    "wall clock": shift_clock,
}


def main(fault: str, *arguments: str) -> int:
    FAULTS[fault]()
    from voice_daemon.cli.main import main as daemonctl  # noqa: PLC0415 - after it is broken

    return daemonctl(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
