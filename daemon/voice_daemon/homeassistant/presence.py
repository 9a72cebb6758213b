"""Presence of Home Assistant on the broker, by its own word, and what it may have missed there.

Only for commands that it gets by MQTT. Called from several threads; what they write is one value.
"""

import time
from collections.abc import Callable
from typing import Final

from voice_daemon.events import ErrorRaised

WILL: Final = b"offline"
"""Home Assistant's word on its status topic when it goes, or its broker's when it is missed."""
ENDING_S: Final = 5.0
"""Home Assistant still takes messages, and acts on none, for some seconds before it says so."""


class Presence:
    """`report` tells the owner."""

    def __init__(
        self,
        report: Callable[[ErrorRaised], None],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._clock_s = clock_s
        self._is_away = False
        self._last = ("", -ENDING_S)
        """The session of the last command, and when it came."""

    def on_status(self, _topic: str, payload: bytes) -> None:
        """Take note of what Home Assistant says of itself."""
        was_away, self._is_away = self._is_away, payload == WILL
        session_id, at_s = self._last
        if self._is_away and not was_away and self._clock_s() - at_s < ENDING_S:
            self._report(_missed(session_id))

    def forget(self) -> None:
        """Begin anew with a connection: what was said before it came, nobody knows."""
        self._is_away = False

    def expect(self, session_id: str) -> None:
        """Take note of a command that is on its way to Home Assistant."""
        self._last = session_id, self._clock_s()
        if self._is_away:
            self._report(_missed(session_id))


def _missed(session_id: str) -> ErrorRaised:
    return ErrorRaised(
        "homeassistant.away",
        "Home Assistant is not connected to the broker: it may not have heard the command",
        "look whether it was done; say it again once Home Assistant runs",
        session_id,
    )
