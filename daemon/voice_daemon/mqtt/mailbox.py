"""The outbox as threads share it: one lock, one clock, and the account of what was lost.

Knows nothing of connections or of who publishes.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voice_daemon.mqtt.losses import LossLedger
from voice_daemon.mqtt.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voice_daemon.events import ErrorRaised
    from voice_daemon.mqtt.outbox import Loss
    from voice_daemon.mqtt.topics import MqttMessage

WINDOW: Final = 16
"""Unacknowledged messages at a time; brokers take 20 or more."""


def steady_s() -> float:
    """Give a steady clock that runs on while the machine sleeps.

    Python's own monotonic clock stands still then, and a command queued before the sleep
    would be young enough to be sent after it.
    """
    clock = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    return time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent now."""

    ticket: int | None
    """To acknowledge it by; None when it needs no acknowledgement."""
    message: MqttMessage
    expiry_s: int | None
    """What is left of its life, for the broker to enforce; None when it never gets old."""


@dataclass(frozen=True, slots=True)
class MailCounts:
    """How many messages are where."""

    queued: int
    """Waiting or unacknowledged."""
    dropped: int
    expired: int
    finals_lost: int
    partials_skipped: int


class Mailbox:
    """A thread-safe outbox."""

    def __init__(
        self,
        *,
        capacity: int,
        stall_s: float,
        clock_s: Callable[[], float] = steady_s,
    ) -> None:
        self._lock = threading.Lock()
        self._outbox = Outbox(capacity=capacity, window=WINDOW, stall_s=stall_s)
        self._ledger = LossLedger()
        self._clock_s = clock_s
        self._is_up = False
        self._is_closed = False

    def put(self, message: MqttMessage) -> None:
        """Take a message; after `close` it is lost at once."""
        with self._lock:
            self._outbox.push(message, now_s=self._clock_s())
            if self._is_closed:
                self._outbox.give_up_all()

    def take(self) -> Outgoing | None:
        """Give the next message to send, or None when there is none or no room for one."""
        with self._lock:
            now_s = self._clock_s()
            parcel = self._outbox.take(now_s=now_s)
            if parcel is None:
                return None
            left_s = parcel.deadline_s - now_s
            return Outgoing(
                ticket=parcel.ticket if parcel.message.qos > 0 else None,
                message=parcel.message,
                expiry_s=None if math.isinf(left_s) else math.ceil(left_s),
            )

    def acknowledge(self, ticket: int, *, refused: bool) -> None:
        """Settle a message that was taken."""
        with self._lock:
            self._outbox.acknowledge(ticket, refused=refused)

    def mark(self) -> int:
        """Give the moment, to be taken before what `link_up` sends first is put together."""
        with self._lock:
            return self._outbox.mark()

    def link_up(self, first: Sequence[MqttMessage], *, mark: int, receive_maximum: int) -> None:
        """Start handing out: `first`, less states published anew since `mark`; then the rest."""
        with self._lock:
            self._is_up = True
            self._outbox.window = min(WINDOW, receive_maximum)
            self._outbox.link_up(first, mark=mark, now_s=self._clock_s())

    def link_down(self) -> None:
        """Stop handing out; what is not acknowledged waits again."""
        with self._lock:
            self._is_up = False
            self._outbox.link_down(now_s=self._clock_s())

    def settle(self) -> tuple[tuple[Loss, ...], ErrorRaised | None]:
        """Give what was lost since the last call, and a report of lost finals if it can go."""
        with self._lock:
            self._outbox.expire(now_s=self._clock_s())
            losses = self._outbox.collect_losses()
            self._ledger.add(losses)
            can_report = self._is_up and self._outbox.has_room
            return losses, self._ledger.take_report() if can_report else None

    def close(self) -> None:
        """Give everything up, now and from now on."""
        with self._lock:
            self._is_closed = True
            self._outbox.give_up_all()

    @property
    def is_empty(self) -> bool:
        """True when everything is delivered."""
        with self._lock:
            return not self._outbox.n_waiting and not self._outbox.n_unacknowledged

    @property
    def holds_events(self) -> bool:
        """True while something undelivered must be delivered or reported."""
        with self._lock:
            return self._outbox.holds_events

    @property
    def oldest_unacknowledged_s(self) -> float:
        """How long the broker has owed its oldest acknowledgement."""
        with self._lock:
            return self._outbox.oldest_unacknowledged_s(self._clock_s())

    @property
    def counts(self) -> MailCounts:
        """A consistent picture."""
        with self._lock:
            return MailCounts(
                queued=self._outbox.n_waiting + self._outbox.n_unacknowledged,
                dropped=self._ledger.dropped,
                expired=self._ledger.expired,
                finals_lost=self._ledger.finals_lost,
                partials_skipped=self._outbox.forgotten,
            )
