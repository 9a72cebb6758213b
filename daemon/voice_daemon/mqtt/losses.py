"""The account of messages that were given up, and the report that a final is among them.

Knows nothing of why or when messages are given up (`outbox`) or of connections.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.outbox import LossReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_daemon.mqtt.outbox import Loss

MAX_NAMED: Final = 10
"""Sessions named in one report; the newest are."""

_WHY: Final = {
    LossReason.EXPIRED: "the broker was away longer than mqtt.final_ttl_s",
    LossReason.OVERFLOW: "more than mqtt.offline_max messages waited for the broker",
    LossReason.REFUSED: "the broker's access rules refused it",
    LossReason.STOPPED: "the daemon had to stop before the broker confirmed it",
}


class LossLedger:
    """Counts losses, and remembers lost finals until they are reported."""

    def __init__(self) -> None:
        self.expired = 0
        self.dropped = 0
        self.finals_lost = 0
        self._n_unreported = 0
        self._unreported: deque[tuple[str, LossReason]] = deque(maxlen=MAX_NAMED)
        """Sessions, and why their finals were lost."""

    def add(self, losses: Sequence[Loss]) -> None:
        """Enter losses."""
        for loss in losses:
            if loss.why is LossReason.EXPIRED:
                self.expired += 1
            else:
                self.dropped += 1
            if loss.message.final_of is not None:
                self.finals_lost += 1
                self._n_unreported += 1
                self._unreported.append((loss.message.final_of, loss.why))

    def take_report(self) -> ErrorRaised | None:
        """Give one event for the finals lost since the last report; None when there are none."""
        if not self._n_unreported:
            return None
        sessions = [session_id for session_id, _ in self._unreported]
        count, why = self._n_unreported, self._unreported[-1][1]
        self._unreported.clear()
        self._n_unreported = 0
        what = "1 transcript was" if count == 1 else f"{count} transcripts were"
        return ErrorRaised(
            "mqtt.final_lost",
            f"{what} not delivered: {_WHY[why]} (session {', '.join(sessions)})",
            "say it again; `daemonctl status` shows the connection to the broker",
            sessions[-1] if count == 1 else None,
        )
