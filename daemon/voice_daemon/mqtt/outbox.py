"""The messages that are not delivered yet: bounded, dropping the oldest, and never late.

Pure: the caller gives the time and does the sending. Knows nothing of connections beyond
up and down. Not thread-safe; its owner holds a lock.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.topics import MqttMessage


class LossReason(StrEnum):
    """Why a message will never be delivered."""

    EXPIRED = "expired"
    """Not acknowledged within its `expiry_s`."""
    OVERFLOW = "overflow"
    """The oldest of too many."""
    REFUSED = "refused"
    """The broker turned it down (its access rules)."""
    STOPPED = "stopped"
    """Still unacknowledged when the client had to stop."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A message that was given up."""

    message: MqttMessage
    why: LossReason


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message in the outbox."""

    ticket: int
    message: MqttMessage
    deadline_s: float
    """On the caller's clock; infinite for what never gets old."""
    sent_at_s: float = 0.0
    """When it was taken for sending; of no meaning while it waits."""

    @property
    def is_event(self) -> bool:
        """True for what must be delivered or reported: at least QoS 1, and not a state."""
        return self.message.qos > 0 and not self.message.retain

    @property
    def is_fleeting(self) -> bool:
        """True for what is sent now or never: a partial."""
        return self.message.qos == 0 and not self.message.retain


class Outbox:
    """Messages waiting, and messages sent but not acknowledged, in order.

    Three kinds. An event (QoS 1) is kept until acknowledged, over reconnects, within its
    expiry. A retained message is kept until a newer one for its topic comes. A fleeting one
    (QoS 0) is gone once taken, and while the link is down.

    At most `capacity` events and fleeting ones wait; past that the oldest fleeting one goes,
    else the oldest event that is no final, else the oldest final. At most `window` are
    unacknowledged at a time, and no more are handed out when the oldest of them has been so for
    `stall_s`: what a stalled broker's socket has swallowed cannot be taken back when it gets old.
    """

    def __init__(self, *, capacity: int, window: int, stall_s: float) -> None:
        self.window = window
        self.forgotten = 0
        """Fleeting messages that were not sent."""
        self._capacity = capacity
        self._stall_s = stall_s
        self._waiting: deque[OutboxEntry] = deque()
        self._sent: dict[int, OutboxEntry] = {}
        self._losses: list[Loss] = []
        self._next_ticket = 0
        self._is_up = False

    def push(self, message: MqttMessage, *, now_s: float) -> None:
        """Take a message in at the end."""
        parcel = self._wrap(message, now_s)
        if parcel.is_fleeting and not self._is_up:
            self.forgotten += 1
            return
        if message.retain:
            self._discard_waiting(message.topic)
        self._waiting.append(parcel)
        self._trim()

    def take(self, *, now_s: float) -> OutboxEntry | None:
        """Give the next message to send, or None when there is none or no room for one."""
        self.expire(now_s=now_s)
        if not self._is_up or not self._waiting:
            return None
        if len(self._sent) >= self.window or self.oldest_unacknowledged_s(now_s) >= self._stall_s:
            return None
        parcel = replace(self._waiting.popleft(), sent_at_s=now_s)
        if parcel.message.qos > 0:
            self._sent[parcel.ticket] = parcel
        return parcel

    def acknowledge(self, ticket: int, *, refused: bool = False) -> None:
        """Settle a sent message; an unknown ticket is one that was settled before."""
        parcel = self._sent.pop(ticket, None)
        if parcel is not None and refused:
            self._give_up(parcel, LossReason.REFUSED)

    def mark(self) -> int:
        """Give a mark that tells what was pushed before it from what is pushed after."""
        return self._next_ticket

    def link_up(self, first: Sequence[MqttMessage], *, mark: int, now_s: float) -> None:
        """Start handing out, `first` before anything that waits.

        `first` is as old as `mark`: a state in it outdates one pushed before the mark, and
        gives way to one pushed after it.
        """
        self._is_up = True
        states = {p.message.topic: p.ticket for p in self._waiting if p.message.retain}
        for message in reversed(first):
            if message.retain and states.get(message.topic, 0) > mark:
                continue
            if message.retain:
                self._discard_waiting(message.topic)
            self._waiting.appendleft(self._wrap(message, now_s))

    def link_down(self, *, now_s: float) -> None:
        """Stop handing out. What was sent and not acknowledged waits again, in its old place."""
        self._is_up = False
        everything = [*self._sent.values(), *self._waiting]
        self._sent.clear()
        newest = {parcel.message.topic: parcel.ticket for parcel in everything}
        self._waiting.clear()
        for parcel in everything:
            if parcel.is_fleeting:
                self.forgotten += 1
            elif not parcel.message.retain or newest[parcel.message.topic] == parcel.ticket:
                self._waiting.append(parcel)
        self._trim()
        self.expire(now_s=now_s)

    def expire(self, *, now_s: float) -> None:
        """Give up what waited too long. A sent message's fate is settled by link or broker."""
        late = [parcel for parcel in self._waiting if parcel.deadline_s <= now_s]
        for parcel in late:
            self._waiting.remove(parcel)
            self._give_up(parcel, LossReason.EXPIRED)

    def give_up_all(self) -> None:
        """Empty the outbox; events count as lost."""
        for parcel in (*self._sent.values(), *self._waiting):
            self._give_up(parcel, LossReason.STOPPED)
        self._sent.clear()
        self._waiting.clear()

    def collect_losses(self) -> tuple[Loss, ...]:
        """Give the losses since the last call, oldest first."""
        losses = tuple(self._losses)
        self._losses.clear()
        return losses

    def oldest_unacknowledged_s(self, now_s: float) -> float:
        """How long the oldest sent message has been waiting for its acknowledgement."""
        oldest = next(iter(self._sent.values()), None)
        return now_s - oldest.sent_at_s if oldest else 0.0

    @property
    def n_waiting(self) -> int:
        """Messages that wait to be sent."""
        return len(self._waiting)

    @property
    def n_unacknowledged(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._sent)

    @property
    def holds_events(self) -> bool:
        """True while an event is undelivered."""
        return any(parcel.is_event for parcel in (*self._sent.values(), *self._waiting))

    @property
    def has_room(self) -> bool:
        """True when another event would displace none."""
        return self._n_bounded() < self._capacity

    def _wrap(self, message: MqttMessage, now_s: float) -> OutboxEntry:
        self._next_ticket += 1
        expiry_s = math.inf if message.expiry_s is None else message.expiry_s
        return OutboxEntry(self._next_ticket, message, now_s + expiry_s)

    def _discard_waiting(self, topic: str) -> None:
        """Drop a retained message that a newer one replaces; nobody misses it."""
        outdated = [p for p in self._waiting if p.message.retain and p.message.topic == topic]
        for parcel in outdated:
            self._waiting.remove(parcel)

    def _n_bounded(self) -> int:
        return sum(not parcel.message.retain for parcel in self._waiting)

    def _trim(self) -> None:
        while self._n_bounded() > self._capacity:
            bounded = [parcel for parcel in self._waiting if not parcel.message.retain]
            victim = min(bounded, key=lambda parcel: (_worth(parcel), parcel.ticket))
            self._waiting.remove(victim)
            self._give_up(victim, LossReason.OVERFLOW)

    def _give_up(self, parcel: OutboxEntry, why: LossReason) -> None:
        if parcel.is_event:
            self._losses.append(Loss(parcel.message, why))
        elif parcel.is_fleeting:
            self.forgotten += 1


def _worth(parcel: OutboxEntry) -> int:
    """Rank what has to go when there is no room: the least goes first."""
    if parcel.is_fleeting:
        return 0
    return 1 if parcel.message.final_of is None else 2


MAX_NAMED: Final = 10
"""Sessions named in one report; the newest are."""

_WHY: Final = {
    LossReason.EXPIRED: "the broker was away longer than mqtt.final_ttl_s",
    LossReason.OVERFLOW: "more than mqtt.offline_max messages waited for the broker",
    LossReason.REFUSED: "the broker's access rules refused it",
    LossReason.STOPPED: "the daemon had to stop before the broker confirmed it",
}


class LossReport:
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
        self._ledger = LossReport()
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
