"""The live clock estimates the input's newest sample from the times at which blocks arrived."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from voice_daemon.events import SAMPLE_RATE

_WINDOW_S: Final = 5.0
"""Arrivals remembered. Long enough to span any jitter, short enough to follow a device whose
clock differs from ours, or that lost audio without saying so."""


def sleep(duration_s: float) -> None:
    """Wait, also under libfaketime, where `time.sleep` fails."""
    threading.Event().wait(duration_s)


class LiveClock:
    """Maps our clock to the sample that a microphone is delivering.

    A block can arrive late but never early, so the arrival that puts the input furthest ahead
    is the truest: the greatest of (end sample - time passed) over the last seconds. Threads may
    call both methods.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._arrivals: deque[tuple[float, float]] = deque()
        """(arrival in seconds, input's place at second 0 by it in samples); places fall."""

    def observe(self, end_sample: int, *, arrived_at_s: float) -> None:
        """Take note that a block which ends before `end_sample` arrived at a monotonic time."""
        origin = end_sample - arrived_at_s * SAMPLE_RATE
        with self._lock:
            # Earlier and less far ahead: it cannot become the truest any more.
            while self._arrivals and self._arrivals[-1][1] <= origin:
                self._arrivals.pop()
            self._arrivals.append((arrived_at_s, origin))
            while self._arrivals[0][0] < arrived_at_s - _WINDOW_S:
                self._arrivals.popleft()

    def now_sample(self) -> int:
        """Return the sample being delivered right now; 0 before anything arrived."""
        now_s = self._monotonic()
        with self._lock:
            if not self._arrivals:
                return 0
            return round(self._arrivals[0][1] + now_s * SAMPLE_RATE)
