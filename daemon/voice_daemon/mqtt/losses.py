"""The account of messages that were given up, and the words about it for a person."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.topics import BrokerLimits, MqttMessage, packet_bytes


class LossReason(StrEnum):
    """Reasons for which a message is given up."""

    EXPIRED = "expired"
    """Not acknowledged within its `expiry_s`."""
    OVERFLOW = "overflow"
    """The oldest of too many."""
    REFUSED = "refused"
    """The broker turned it down: its access rules."""
    REJECTED = "rejected"
    """The broker turned it down: something about this message alone."""
    STOPPED = "stopped"
    """Still unacknowledged when the client had to stop."""
    UNCONFIRMED = "unconfirmed"
    """Sent as often as may be, and each time the connection ended before its acknowledgement."""
    TOO_LARGE = "too_large"
    """Larger than the broker takes."""
    SET_ASIDE = "set_aside"
    """A state over which two connections in a row ended."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A message that was given up."""

    message: MqttMessage
    why: LossReason
    may_have_arrived: bool = False
    """True when it was sent, and what became of it is not known."""


MAX_NAMED: Final = 10
"""At most this many session ids a report, the newest."""

_WHY: Final = {
    LossReason.EXPIRED: "the broker was away longer than mqtt.final_ttl_s",
    LossReason.OVERFLOW: "more than mqtt.offline_max messages waited for the broker",
    LossReason.REFUSED: "the broker's access rules refused it",
    LossReason.REJECTED: "the broker refused this message",
    LossReason.STOPPED: "the daemon had to stop before the broker confirmed it",
    LossReason.UNCONFIRMED: "the connection broke twice before the broker confirmed it",
    LossReason.TOO_LARGE: "it is larger than the broker takes",
}
_LEFT_OUT: Final = frozenset({LossReason.TOO_LARGE, LossReason.SET_ASIDE})


class _Finals:
    """Finals of one fate, until they are reported."""

    def __init__(self) -> None:
        self.count = 0
        self.newest: deque[tuple[str, LossReason]] = deque(maxlen=MAX_NAMED)

    def add(self, session_id: str, why: LossReason) -> None:
        self.count += 1
        self.newest.append((session_id, why))

    def report(self, code: str, what: tuple[str, str], *, remedy: str) -> ErrorRaised:
        """Report them and forget them; `what`: in the singular and in the plural."""
        sessions = [session_id for session_id, _ in self.newest]
        count, why = self.count, self.newest[-1][1]
        self.count = 0
        self.newest.clear()
        words = f"1 transcript {what[0]}" if count == 1 else f"{count} transcripts {what[1]}"
        return ErrorRaised(
            code,
            f"{words}: {_WHY[why]} (session {', '.join(sessions)})",
            remedy,
            sessions[-1] if count == 1 else None,
        )


class LossReport:
    """Counts losses, and keeps what a person must know until it can be told."""

    def __init__(self) -> None:
        self.expired = 0
        self.dropped = 0
        self.finals_lost = 0
        self.finals_unconfirmed = 0
        self._lost = _Finals()
        self._unconfirmed = _Finals()
        self._left_out: dict[str, Loss] = {}
        """States that are not sent, by topic, until they are reported."""
        self._told: dict[str, LossReason] = {}
        """Reported already, by topic: a state is announced anew at every connection."""

    def add(self, losses: Sequence[Loss]) -> None:
        """Enter losses."""
        for loss in losses:
            if loss.why in _LEFT_OUT and loss.message.retain:
                if self._told.get(loss.message.topic) is not loss.why:
                    self._left_out[loss.message.topic] = loss
                continue
            if loss.why is LossReason.EXPIRED:
                self.expired += 1
            else:
                self.dropped += 1
            self._add_final(loss)

    def _add_final(self, loss: Loss) -> None:
        if loss.message.final_of is None:
            return
        if loss.may_have_arrived:
            self.finals_unconfirmed += 1
            self._unconfirmed.add(loss.message.final_of, loss.why)
        else:
            self.finals_lost += 1
            self._lost.add(loss.message.final_of, loss.why)

    def take(self, *, at_most: int, limits: BrokerLimits) -> tuple[ErrorRaised, ...]:
        """Give the reports that are due, as many as may go; they are not given again."""
        reports: list[ErrorRaised] = []
        if self._lost.count and len(reports) < at_most:
            reports.append(
                self._lost.report(
                    "mqtt.final_lost",
                    ("was not delivered", "were not delivered"),
                    remedy="say it again; `daemonctl status` shows the connection to the broker",
                )
            )
        if self._unconfirmed.count and len(reports) < at_most:
            reports.append(
                self._unconfirmed.report(
                    "mqtt.final_unconfirmed",
                    ("may have arrived, or not", "may have arrived, or not"),
                    remedy="look whether it was done before you say it again; "
                    "see the broker's log if this happens often",
                )
            )
        while self._left_out and len(reports) < at_most:
            topic, loss = next(iter(self._left_out.items()))
            del self._left_out[topic]
            self._told[topic] = loss.why
            reports.append(_left_out(loss, limits))
        return tuple(reports)


def _left_out(loss: Loss, limits: BrokerLimits) -> ErrorRaised:
    topic, size = loss.message.topic, packet_bytes(loss.message)
    if loss.why is LossReason.TOO_LARGE:
        return ErrorRaised(
            "mqtt.message_too_large",
            f"the message on {topic} is left out: it has {size} bytes, and the broker takes "
            f"packets of up to {limits.maximum_packet_bytes}",
            f"let the broker take {size} bytes (mosquitto: max_packet_size)",
        )
    return ErrorRaised(
        "mqtt.message_set_aside",
        f"the message on {topic} ({size} bytes) is left out for an hour: two connections in a row "
        "ended over it",
        "see the broker's log: a limit on packets, or an access rule that ends the connection",
    )
