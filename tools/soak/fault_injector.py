"""Fault injector: restarts the broker during a soak, and cuts the way to it for a while.

Each fault is undone before the next begins.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Final, Self

from rigs.brokers import Gate, Mosquitto

RESTART, CUT, LONG_CUT = "broker restarts", "short cuts", "cuts beyond the time to live"
CYCLE: Final = (RESTART, CUT, RESTART, CUT, LONG_CUT)
CUT_S: Final = 2.0
BEYOND_S: Final = 4.0
"""How much longer than a final's time to live the longest cut is."""


def lasting_broker(folder: Path) -> Mosquitto:
    """Give a broker that keeps what it accepted over an orderly restart, not started."""
    settings = (
        "allow_anonymous true",
        "persistence true",
        f"persistence_location {folder}/",
        "log_dest none",
    )
    return Mosquitto(folder, settings)


class FaultInjector:
    """Injects one fault after the other until it is told to stop, and undoes the last."""

    def __init__(self, broker: Mosquitto, gate: Gate, *, every_s: float, ttl_s: float) -> None:
        """`every_s`: of rest between two faults; `ttl_s`: of a final."""
        self.done: Counter[str] = Counter()
        self._broker = broker
        self._gate = gate
        self._every_s = every_s
        self._ttl_s = ttl_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-injector", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the fault that is going on end, and begin no other."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for kind in itertools.cycle(CYCLE):
            if self._stopping.wait(self._every_s):
                return
            if kind == RESTART:
                self._restart()
            else:
                self._cut(CUT_S if kind == CUT else self._ttl_s + BEYOND_S)
            self.done[kind] += 1

    def _restart(self) -> None:
        process = self._broker.process
        assert process is not None
        self._broker.signal(signal.SIGTERM)  # it writes down what it has
        process.wait()
        self._gate.shut()
        self._broker.start()
        self._gate.open()

    def _cut(self, lasts_s: float) -> None:
        self._gate.shut()
        self._stopping.wait(lasts_s)
        self._gate.open()
