"""Timers that Home Assistant runs for this satellite, known here too: they ring without it.

Home Assistant forgets its timers when it restarts, and tells nobody of one that ends while the
satellite is not connected. So each is kept in a file with the time at which it ends, and one whose
end nobody told of rings by itself, a little later.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from wyoming.event import Event
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated

from voice_daemon._lib.files import read_json, write_atomically
from voice_daemon.events import ErrorRaised

log = structlog.get_logger()

GRACE_S: Final = 2.0
"""For Home Assistant's own word."""
LATE_S: Final = 600.0
"""A timer that ended longer ago does not ring any more: it is reported."""
MAX_TIMERS: Final = 100
LONGEST_S: Final = 366 * 86_400.0
LAST_S: Final = 1e11
"""The end of the calendar's years of four digits, nearly."""


class Timers:
    """Takes the events of one satellite; `ring` sounds a timer, `report` tells its owner.

    `file` None: they are forgotten with the process.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        ring: Callable[[], None],
        report: Callable[[ErrorRaised], None],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._ring = ring
        self._report = report
        self._clock_s = clock_s
        self._due_s = _kept(file)
        """When each ends, on the wall's clock."""
        self._rung: set[str] = set()
        """Those that rang before Home Assistant said so."""

    def take(self, event: Event) -> None:
        """Act on an event of Home Assistant's; those about no timer do nothing."""
        name = event.data.get("id")
        if not isinstance(name, str):
            return
        if TimerStarted.is_type(event.type) or TimerUpdated.is_type(event.type):
            self._set(name, event.data)
        elif TimerCancelled.is_type(event.type):
            self._forget(name)
        elif TimerFinished.is_type(event.type):
            if name in self._rung:
                self._rung.discard(name)
                return
            log.info("timer.finished")
            self._forget(name)
            self._ring()

    def ring_overdue(self) -> None:
        """Ring for what has ended and nobody told of; to be called every second or so."""
        now_s = self._clock_s()
        for name, due_s in list(self._due_s.items()):
            if now_s < due_s + GRACE_S:
                continue
            self._rung.add(name)
            self._forget(name)
            at = datetime.fromtimestamp(due_s, UTC).isoformat(timespec="seconds")
            log.warning("timer.finished_alone", ended_at=at)
            if now_s > due_s + LATE_S:
                self._report(_missed(at))
            else:
                self._ring()

    def _set(self, name: str, data: dict[str, Any]) -> None:
        left_s = data.get("total_seconds")
        if not data.get("is_active", True):
            self._forget(name)  # paused: it is told of again when it goes on
        elif (
            isinstance(left_s, int | float)
            and 0 <= left_s <= LONGEST_S  # which not-a-number is not
            and (name in self._due_s or len(self._due_s) < MAX_TIMERS)
        ):
            self._due_s[name] = self._clock_s() + left_s
            self._keep()

    def _forget(self, name: str) -> None:
        if self._due_s.pop(name, None) is not None:
            self._keep()

    def _keep(self) -> None:
        if self._file is None:
            return
        try:
            write_atomically(self._file, json.dumps(self._due_s).encode())
        except OSError as error:
            log.warning("timers.not_kept", reason=str(error))


def _kept(file: Path | None) -> dict[str, float]:
    """Read what an earlier process knew; a file that is none of ours is as good as none."""
    if file is None or not file.exists():
        return {}
    try:
        kept = {str(name): float(due_s) for name, due_s in read_json(file).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("timers.unreadable", file=str(file), reason=str(error))
        return {}
    return {name: due_s for name, due_s in kept.items() if 0 <= due_s <= LAST_S}


def _missed(at: str) -> ErrorRaised:
    return ErrorRaised(
        "timer.missed",
        f"a timer ended at {at} while the daemon was not running",
        "set it again where it still matters",
    )
