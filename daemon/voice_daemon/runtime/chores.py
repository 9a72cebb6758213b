"""What falls due while the daemon runs: health reports, announcements, the settings on disk.

Done by the main thread between its waits. Knows when; what is said is the assembly's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from voice_daemon.errors import VoiceDaemonError
from voice_daemon.mqtt.messages import error_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.runtime.assembly import Assembly

log = structlog.get_logger()

HEALTH_EVERY_S: Final = 60.0
LONGEST_PAUSE_S: Final = 1.0
SAVE_EVERY_S: Final = 1.0
"""At most, however often settings are changed."""


class Chores:
    """Does what is due. `pause_s` is how long there is nothing to do."""

    def __init__(self, parts: Assembly, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock_s = clock_s
        self._next_health_s = 0.0
        self._next_save_s = 0.0
        self._microphone_problems: tuple[str, ...] = ()
        self._save_fault: str | None = None

    @property
    def pause_s(self) -> float:
        """Until the next chore that is known of; others may come sooner."""
        due_s = self._parts.homeassistant.due_s
        times_s = [LONGEST_PAUSE_S] if due_s is None else [LONGEST_PAUSE_S, due_s - self._clock_s()]
        if self._parts.store.is_dirty:
            times_s.append(self._next_save_s - self._clock_s())
        return max(0.0, min(times_s))

    def do(self) -> None:
        """Do what is due now."""
        now_s = self._clock_s()
        self._report_health(now_s)
        due_s = self._parts.homeassistant.due_s
        if due_s is not None and now_s >= due_s:
            self._parts.announce_again()
        status = self._parts.mqtt.status()
        if status.connected and not status.queued:
            self._parts.homeassistant.confirmed()
        if self._parts.store.is_dirty and now_s >= self._next_save_s:
            self._next_save_s = now_s + SAVE_EVERY_S
            self._save()

    def finish(self, *, delivered: bool) -> None:
        """Leave everything in order; `delivered`: the broker has all that was said."""
        if delivered:
            self._parts.homeassistant.confirmed()
        self._save()

    def _report_health(self, now_s: float) -> None:
        """Report every minute, and at once when something becomes of the microphone."""
        if not self._parts.worker.engine_ready:
            return
        problems = self._parts.announcer.picture().problems
        of_microphone = tuple(code for code, problem in problems.items() if problem.part == "mic")
        if now_s >= self._next_health_s or of_microphone != self._microphone_problems:
            self._next_health_s = now_s + HEALTH_EVERY_S
            self._microphone_problems = of_microphone
            self._parts.publish_health()

    def _save(self) -> None:
        """Write the changed settings; a fault is told once, and it is tried again."""
        try:
            if self._parts.store.save():
                changes = self._parts.store.memory.changes
                log.info("settings.saved", **{name: c.value for name, c in changes.items()})
            self._save_fault = None
        except VoiceDaemonError as error:
            if error.message != self._save_fault:
                self._save_fault = error.message
                log.warning("settings.not_saved", reason=error.message, remedy=error.remedy)
                self._parts.announcer.error(error_event(error))
