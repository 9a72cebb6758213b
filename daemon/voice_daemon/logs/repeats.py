"""Drops log lines that repeat too fast, and counts them: no outsider writes a line per packet.

One bucket an event's name, of which there are finitely many in the code. What is dropped shows
as `repeats` on the next line of that name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from voice_daemon._lib.rate import TokenBucket

BURST: Final = 100
"""At once: a full outbox that is lost, a flood's first lines."""
PER_S: Final = 2
"""Warnings and errors afterwards."""
CALM_PER_S: Final = 10
"""Other lines afterwards: a replay as fast as it goes writes some, a session a few a minute."""
MAX_NAMES: Final = 1000
"""Names of other libraries' lines are whole sentences; past this they share one bucket."""
_OTHERS: Final = ""


class RepeatFilter:
    """A structlog processor; callable from any thread."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._buckets: dict[str, TokenBucket] = {}
        self._dropped: dict[str, int] = {}

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Pass an event on, or raise `DropEvent`."""
        name = str(event.get("event"))
        per_s = CALM_PER_S if method in {"debug", "info"} else PER_S
        with self._lock:
            if name not in self._buckets and len(self._buckets) >= MAX_NAMES:
                name = _OTHERS
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = TokenBucket(burst=BURST, per_s=per_s, clock_s=self._clock_s)
                self._buckets[name] = bucket
            if not bucket.allows():
                self._dropped[name] = self._dropped.get(name, 0) + 1
                raise structlog.DropEvent
            repeats = self._dropped.pop(name, 0)
        return {**event, "repeats": repeats} if repeats else event
