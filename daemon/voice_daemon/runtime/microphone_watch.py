"""A watch on a microphone that delivers: its digital silence, and macOS' permission for it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from voice_daemon.audio.authorization import Authorization
from voice_daemon.errors import Problem
from voice_daemon.launchd.agent import LABEL

log = structlog.get_logger()

LOOK_EVERY_S: Final = 1.0
REOPEN_EVERY_S: Final = 15.0
"""A stream that was opened before the permission came may stay silent until it is opened again."""

SILENT: Final = "mic.silent"
FORBIDDEN: Final = "mic.permission"
MICROPHONE_PROBLEMS: Final = (SILENT, FORBIDDEN)
"""The problems that this may find, by code."""

RESET: Final = f"tccutil reset Microphone {LABEL}"
"""Makes macOS ask again: after a change of the app its switch may be on and worth nothing."""
SILENCE_REMEDY: Final = "look for a mute switch, or choose another audio.device"
UNKNOWN_REMEDY: Final = (
    "macOS: System Settings > Privacy & Security > Microphone, allow the program that runs the "
    f"daemon, and where it is allowed already `{RESET}` and `daemonctl restart`; else "
    f"{SILENCE_REMEDY}"
)
_FORBIDDEN: Final = {
    Authorization.NOT_DETERMINED: Problem(
        "mic",
        "macOS is asking whether the microphone may be used, and until then gives silence",
        "answer on the Mac's own screen (or by Screen Sharing); no question there: "
        f"`{RESET}`, then `daemonctl restart`",
    ),
    Authorization.DENIED: Problem(
        "mic",
        "macOS does not allow the microphone, and gives silence instead",
        "System Settings > Privacy & Security > Microphone, switch VoiceDaemon on (for a daemon in "
        "a terminal, the terminal; over SSH macOS gives none); is it on: "
        f"`{RESET}`, then `daemonctl restart`, and answer on the Mac's own screen",
    ),
    Authorization.RESTRICTED: Problem(
        "mic",
        "a profile or Screen Time forbids the microphone on this Mac",
        "ask the person who manages this Mac to allow it for VoiceDaemon",
    ),
}


class Permission(Protocol):
    """The system's word on this program and the microphone."""

    def status(self) -> Authorization:
        """Say how it stands."""

    def request(self) -> None:
        """Put the question to the user, where it has no answer yet; returns at once."""


@dataclass(frozen=True, slots=True)
class MicrophoneReport:
    """The problems now, by code, and whether opening the input anew may help."""

    problems: Mapping[str, Problem]
    reopen: bool = False


class MicrophoneWatch:
    """Looks at an input that delivers. `permission`: None where the system has no such thing.

    `may_ask`: this process is the app's, which has a reason to give; any other that asks in the
    place of a program without one is ended by macOS.
    """

    def __init__(
        self,
        permission: Permission | None = None,
        *,
        may_ask: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._permission = permission
        self._may_ask = may_ask
        self._clock_s = clock_s
        self._known: Authorization | None = None
        self._look_at_s = float("-inf")
        self._reopen_at_silent_s = REOPEN_EVERY_S

    @property
    def authorization(self) -> Authorization | None:
        """The permission at the last look; None where there is none."""
        return self._known

    def opening(self) -> None:
        """Have the user asked before the input is opened for the first time."""
        if self._permission is None:
            return
        self._known = self._permission.status()
        log.info("mic.permission", status=self._known.name.lower())
        if self._known is Authorization.NOT_DETERMINED and self._may_ask:
            self._permission.request()

    def look(self, silent_s: float, *, alarm_s: float) -> MicrophoneReport:
        """Say what is wrong after `silent_s` of digital silence up to now."""
        was_given = self._was_given()
        problem = None if self._known is None else _FORBIDDEN.get(self._known)
        if problem is not None:
            return MicrophoneReport({FORBIDDEN: problem})
        if silent_s < alarm_s:
            self._reopen_at_silent_s = max(alarm_s, REOPEN_EVERY_S)
            return MicrophoneReport({}, reopen=was_given and silent_s > 0)
        is_due = self._known is not None and silent_s >= self._reopen_at_silent_s
        if is_due:
            self._reopen_at_silent_s = silent_s + REOPEN_EVERY_S
        remedy = UNKNOWN_REMEDY if self._known is None else SILENCE_REMEDY
        silence = Problem("mic", "nothing but digital silence", remedy)
        return MicrophoneReport({SILENT: silence}, reopen=is_due or was_given)

    def _was_given(self) -> bool:
        """Look at the permission when it is time to; True when it was given just now."""
        now_s = self._clock_s()
        if self._permission is None or now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_EVERY_S
        before, self._known = self._known, self._permission.status()
        if before is not self._known:
            log.info("mic.permission", status=self._known.name.lower())
        return self._known is Authorization.AUTHORIZED and before is not Authorization.AUTHORIZED
