"""Gauges: memory, CPU time, threads and descriptors of a process, read from outside over time.

Asks `ps`, and /proc where there is one.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a process."""

    at_s: float
    """Since the first look."""
    n_finals: int
    """How many finals had arrived by then."""
    resident_mb: float
    cpu_s: float
    threads: int | None
    descriptors: int | None
    """None where the system does not tell."""


def read(pid: int, *, at_s: float, n_finals: int) -> Reading | None:
    """Look at a process; None when it is gone."""
    asked = subprocess.run(
        ["ps", "-o", "rss=,time=", "-p", str(pid)],  # noqa: S607 - where ps is differs
        capture_output=True,
        text=True,
        check=False,
    )
    fields = asked.stdout.split()
    if len(fields) != 2 or fields[0] == "0":
        return None
    resident_kb, cpu_time = fields
    proc = Path(f"/proc/{pid}")
    threads = descriptors = None
    with contextlib.suppress(OSError):
        threads = len(list((proc / "task").iterdir()))
        descriptors = len(list((proc / "fd").iterdir()))
        cpu_time = _cpu_time(proc)
    return Reading(
        at_s, n_finals, int(resident_kb) / 1024, _seconds(cpu_time), threads, descriptors
    )


def _cpu_time(proc: Path) -> str:
    """Give the CPU time as `ps` would, with the fractions that Linux's `ps` leaves out."""
    user, system = (proc / "stat").read_text().rpartition(")")[2].split()[11:13]
    return str((int(user) + int(system)) / 100)


def _seconds(cpu_time: str) -> float:
    """Read [[days-]hours:]minutes:seconds, or seconds alone."""
    days, _, clock = cpu_time.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = 60 * seconds + float(part)
    return 86_400 * int(days or 0) + seconds


class Gauges:
    """Reads a process every so often, in the background, until the block ends."""

    def __init__(self, pid: int, *, every_s: float, n_finals: Callable[[], int]) -> None:
        self.readings: list[Reading] = []
        self._pid = pid
        self._every_s = every_s
        self._n_finals = n_finals
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stopping.wait(self._every_s):
            at_s = time.monotonic() - began_s
            reading = read(self._pid, at_s=at_s, n_finals=self._n_finals())
            if reading is not None:
                self.readings.append(reading)
