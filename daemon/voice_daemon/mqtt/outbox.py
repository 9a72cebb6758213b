"""The messages that are not delivered yet: bounded, dropping the oldest, and never late.

One lock: any thread may put, the client's thread sends.
"""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.losses import Loss, LossReason, LossReport
from voice_daemon.mqtt.topics import NO_LIMITS, BrokerLimits, MqttMessage

WINDOW: Final = 16
"""Unacknowledged messages at a time; brokers take 20 or more."""
MAX_SENDINGS: Final = 2
"""A subscriber sees an event twice at most: again only if a connection broke over it."""
ASIDE_S: Final = 3600.0
"""A state that broke two connections in a row is not sent for so long; another value of it is."""
RETRY_S: Final = (1.0, 2.0, 4.0, 8.0)
"""After each refusal that may pass; the last one again and again, within the message's life."""


def steady_s() -> float:
    """Give a steady clock that runs on while the machine sleeps.

    Python's own monotonic clock stands still then, and a command queued before the sleep
    would be young enough to be sent after it.
    """
    clock = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
    return time.clock_gettime(clock)


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message in the outbox."""

    ticket: int
    """To acknowledge it by."""
    message: MqttMessage
    deadline_s: float
    """On the outbox's clock; infinite for what never gets old."""
    sent_at_s: float = 0.0
    """Time at which it was taken for sending; of no meaning while it waits."""
    sendings: int = 0
    """Number of sendings that may have arrived: a refused one is taken off again."""
    refusals: int = 0
    not_before_s: float = 0.0
    """Earliest time of the next attempt after a refusal."""

    @property
    def is_event(self) -> bool:
        """True for what must be delivered or reported: at least QoS 1, and not a state."""
        return self.message.qos > 0 and not self.message.retain

    @property
    def is_fleeting(self) -> bool:
        """True for what is sent now or never: a partial."""
        return self.message.qos == 0 and not self.message.retain

    @property
    def expiry_s(self) -> int | None:
        """Rest of its life when it was taken, for the broker to enforce; None: it has no end.

        Rounded, not up: a broker that counts whole seconds must not add one to every life.
        """
        left_s = self.deadline_s - self.sent_at_s
        return None if math.isinf(left_s) else max(1, math.floor(left_s + 0.5))

    @property
    def key(self) -> tuple[str, bytes]:
        """Tells a message from others over reconnects, when states are announced anew."""
        return self.message.topic, self.message.payload


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """Counts of messages by what became of them."""

    queued: int
    """Waiting or unacknowledged."""
    dropped: int
    """Lost for another reason than age."""
    expired: int
    """Lost by age."""
    finals_lost: int
    finals_unconfirmed: int
    """Sent, never confirmed, and given up: they may have arrived."""


class Outbox:
    """Messages waiting, and messages sent but not acknowledged, in order.

    Three kinds. An event (QoS 1) is kept until acknowledged, over reconnects, within its
    expiry and `MAX_SENDINGS`. A retained message is kept until a newer one for its topic comes.
    A fleeting one (QoS 0) is gone once taken, and while there is no connection.

    At most `capacity` events and fleeting ones wait; past that the oldest fleeting one goes,
    else the oldest event that is no final, else the oldest final. At most `WINDOW` are
    unacknowledged at a time, and no more are handed out when the oldest of them has been so for
    `stall_s`: what a stalled broker's socket has swallowed cannot be taken back when it gets old.

    After a connection that ended over unacknowledged messages, those go out one at a time: the
    one over which the next connection ends is the culprit, and is set aside. `never_aside` are
    topics that are sent come what may.
    """

    def __init__(
        self,
        *,
        capacity: int,
        stall_s: float,
        never_aside: Collection[str] = (),
        finals_are_heard: bool = False,
        clock_s: Callable[[], float] = steady_s,
    ) -> None:
        self._lock = threading.Lock()
        self._capacity = capacity
        self._stall_s = stall_s
        self._never_aside = frozenset(never_aside)
        self._clock_s = clock_s
        self._limits = NO_LIMITS
        self._waiting: deque[OutboxEntry] = deque()
        self._sent: dict[int, OutboxEntry] = {}
        self._suspects: set[tuple[str, bytes]] = set()
        """Messages unacknowledged when the last connection ended, and not delivered since."""
        self._aside: dict[tuple[str, bytes], float] = {}
        """States that are not sent, and until when."""
        self.finals_are_heard = finals_are_heard
        """True once somebody listened to a final; then one that nobody hears waits."""
        self._losses: list[Loss] = []
        self._report = LossReport()
        self._next_ticket = 0
        self._newest: dict[str, int] = {}
        """Of each retained topic, the ticket of what was put last."""
        self._is_up = False
        self._is_closed = False

    def put(self, message: MqttMessage) -> None:
        """Take a message in at the end. Never waits; after `close` it is lost at once."""
        with self._lock:
            entry = self._wrap(message)
            if entry.is_fleeting and not self._is_up:
                return
            if message.retain:
                self._replace_waiting(message.topic)
            self._waiting.append(entry)
            self._trim()
            if self._is_closed:
                self._give_up_all()

    def take(self) -> OutboxEntry | None:
        """Give the next message to send, or None when there is none or no room for one."""
        with self._lock:
            now_s = self._clock_s()
            self._expire(now_s)
            while self._may_send(now_s):
                waiting = next((e for e in self._waiting if e.not_before_s <= now_s), None)
                if waiting is None:
                    return None
                self._waiting.remove(waiting)
                if self._is_aside(waiting, now_s):
                    continue
                if not self._limits.fits(waiting.message):
                    self._leave_out(waiting, LossReason.TOO_LARGE)
                    continue
                entry = replace(waiting, sent_at_s=now_s, sendings=waiting.sendings + 1)
                if self._awaits_acknowledgement(entry):
                    self._sent[entry.ticket] = entry
                return entry
            return None

    def acknowledge(self, ticket: int, *, is_heard: bool = True) -> None:
        """Settle a message that the broker has; an unknown ticket was settled before."""
        with self._lock:
            entry = self._sent.pop(ticket, None)
            if entry is not None:
                self._suspects.discard(entry.key)
                self.finals_are_heard |= is_heard and entry.message.final_of is not None

    def wait_for_a_listener(self, ticket: int) -> bool:
        """Send a message again that the broker had nobody to give to; False: it is settled.

        That is for finals, where finals were heard before: Home Assistant is away for ten
        seconds whenever its broker was restarted.
        """
        with self._lock:
            entry = self._sent.get(ticket)
            waits = bool(entry and entry.message.final_of and self.finals_are_heard)
        if waits:
            # Outside of the lock, which `refuse` takes itself.
            self.refuse(ticket, None)
        return waits

    def refuse(self, ticket: int, why: LossReason | None) -> None:
        """Settle a message that the broker turned down: for good, or None: for the moment."""
        with self._lock:
            entry = self._sent.pop(ticket, None)
            if entry is None:
                return
            self._suspects.discard(entry.key)
            if why is not None:
                # Turned down for good, it has certainly not arrived.
                self._give_up(replace(entry, sendings=0), why)
                return
            if self._is_outdated(entry):
                return
            now_s = self._clock_s()
            delay_s = RETRY_S[min(entry.refusals, len(RETRY_S) - 1)]
            again = replace(
                entry,
                sendings=entry.sendings - 1,
                refusals=entry.refusals + 1,
                not_before_s=now_s + delay_s,
            )
            self._wait_again([again])
            self._expire(now_s)

    def mark(self) -> int:
        """Give the moment, to be taken before what `connected` sends first is put together."""
        with self._lock:
            return self._next_ticket

    def connected(
        self,
        first: Sequence[MqttMessage] = (),
        *,
        mark: int = 0,
        limits: BrokerLimits = NO_LIMITS,
    ) -> None:
        """Start handing out: the first of `first`, the events that waited, then the others.

        What waited goes before the states that are only said again: a command gets old, and a
        state that breaks connections must not stand in its way. `first` is as old as `mark`: a
        state in it outdates one put before the mark, and gives way to one put after it.
        """
        with self._lock:
            self._is_up = True
            self._limits = limits
            said = {message.topic for message in first if message.retain}
            states = [e for e in self._waiting if e.message.retain]
            newer = {e.message.topic for e in states if e.ticket > mark}
            events = [e for e in self._waiting if not e.message.retain]
            anew = [self._wrap(m) for m in first if not (m.retain and m.topic in newer)]
            kept = [e for e in states if e.ticket > mark or e.message.topic not in said]
            # `online` goes before everything, unless a newer one was put meanwhile.
            n_leading = 1 if anew and first and anew[0].message is first[0] else 0
            self._waiting = deque([*anew[:n_leading], *events, *anew[n_leading:], *kept])

    def disconnected(self) -> None:
        """Stop handing out. What was sent and not acknowledged waits again, in its old place."""
        with self._lock:
            self._is_up = False
            unacknowledged = list(self._sent.values())
            self._sent.clear()
            if unacknowledged:
                unacknowledged = self._accuse(unacknowledged)
            self._wait_again(unacknowledged)
            for entry in list(self._waiting):
                if entry.is_fleeting or self._is_outdated(entry):
                    self._waiting.remove(entry)
            self._trim()
            self._expire(self._clock_s())

    def settle(self) -> tuple[tuple[Loss, ...], tuple[ErrorRaised, ...]]:
        """Give what was lost since the last call, and reports about it as far as they can go."""
        with self._lock:
            self._expire(self._clock_s())
            losses = tuple(self._losses)
            self._losses.clear()
            self._report.add(losses)
            if not self._is_up:
                return losses, ()
            # A report must displace no other final: one at a time, and only into free room.
            room = self._capacity - self._n_bounded()
            return losses, self._report.take(at_most=room, limits=self._limits)

    def close(self) -> None:
        """Give everything up, now and from now on."""
        with self._lock:
            self._is_closed = True
            self._give_up_all()

    @property
    def is_empty(self) -> bool:
        """True when everything is delivered."""
        with self._lock:
            return not self._waiting and not self._sent

    @property
    def holds_events(self) -> bool:
        """True while something undelivered must be delivered or reported."""
        with self._lock:
            return any(entry.is_event for entry in self._all())

    @property
    def oldest_unacknowledged_s(self) -> float:
        """Age of the oldest sending that the broker has not acknowledged."""
        with self._lock:
            return self._owed_s(self._clock_s())

    @property
    def final_due_s(self) -> float:
        """Time until the first unacknowledged final is too old to arrive; infinite without one.

        Not above 0: its bytes may still be on their way, and have to be stopped.
        """
        with self._lock:
            deadlines = [e.deadline_s for e in self._sent.values() if e.message.final_of]
            return min(deadlines, default=math.inf) - self._clock_s()

    @property
    def counts(self) -> OutboxCounts:
        """Consistent counts."""
        with self._lock:
            return OutboxCounts(
                queued=len(self._waiting) + len(self._sent),
                dropped=self._report.dropped,
                expired=self._report.expired,
                finals_lost=self._report.finals_lost,
                finals_unconfirmed=self._report.finals_unconfirmed,
            )

    def _may_send(self, now_s: float) -> bool:
        # One at a time while a culprit is looked for: see `_accuse`.
        window = 1 if self._suspects else min(WINDOW, self._limits.receive_maximum)
        return (
            self._is_up
            and bool(self._waiting)
            and len(self._sent) < window
            and self._owed_s(now_s) < self._stall_s
        )

    def _owed_s(self, now_s: float) -> float:
        # A dictionary keeps the order of sending, so the first is the oldest.
        oldest = next(iter(self._sent.values()), None)
        return now_s - oldest.sent_at_s if oldest else 0.0

    def _awaits_acknowledgement(self, entry: OutboxEntry) -> bool:
        return min(entry.message.qos, self._limits.maximum_qos) > 0

    def _is_aside(self, entry: OutboxEntry, now_s: float) -> bool:
        until_s = self._aside.get(entry.key)
        if until_s is not None and until_s <= now_s:
            del self._aside[entry.key]
        return until_s is not None and until_s > now_s

    def _accuse(self, unacknowledged: list[OutboxEntry]) -> list[OutboxEntry]:
        """Find what the connection ended over; give what may be sent again."""
        keys = {entry.key for entry in unacknowledged}
        again = []
        for entry in unacknowledged:
            # Guilty is only what was alone on its way when a second connection ended over it.
            is_culprit = keys <= self._suspects and len(keys) == 1
            if entry.is_event and entry.sendings >= MAX_SENDINGS:
                self._give_up(entry, LossReason.UNCONFIRMED)
            elif is_culprit and entry.message.retain and self._may_set_aside(entry):
                self._aside[entry.key] = self._clock_s() + ASIDE_S
                self._leave_out(entry, LossReason.SET_ASIDE)
            else:
                again.append(entry)
        # By topic and content: at the next connection a state is another entry.
        self._suspects = {entry.key for entry in again}
        return again

    def _is_outdated(self, entry: OutboxEntry) -> bool:
        """Tell whether a state was replaced after it went out: it must not follow the newer."""
        return entry.message.retain and self._newest[entry.message.topic] != entry.ticket

    def _may_set_aside(self, entry: OutboxEntry) -> bool:
        return entry.message.topic not in self._never_aside

    def _wait_again(self, entries: Iterable[OutboxEntry]) -> None:
        """Put entries back where they stood."""
        self._waiting = deque(sorted([*entries, *self._waiting], key=lambda e: e.ticket))

    def _expire(self, now_s: float) -> None:
        """Give up what waited too long; what was sent is settled by the broker, or the end."""
        for entry in [e for e in self._waiting if e.deadline_s <= now_s]:
            self._waiting.remove(entry)
            self._give_up(entry, LossReason.EXPIRED)

    def _give_up_all(self) -> None:
        for entry in self._all():
            self._give_up(entry, LossReason.STOPPED)
        self._sent.clear()
        self._waiting.clear()

    def _all(self) -> list[OutboxEntry]:
        return [*self._sent.values(), *self._waiting]

    def _wrap(self, message: MqttMessage) -> OutboxEntry:
        self._next_ticket += 1
        if message.retain:
            self._newest[message.topic] = self._next_ticket
        life_s = math.inf if message.expiry_s is None else message.expiry_s
        return OutboxEntry(self._next_ticket, message, self._clock_s() + life_s)

    def _replace_waiting(self, topic: str) -> None:
        """Drop a retained message that a newer one replaces; nobody misses it."""
        for entry in [e for e in self._waiting if e.message.retain and e.message.topic == topic]:
            self._waiting.remove(entry)

    def _n_bounded(self) -> int:
        return sum(not entry.message.retain for entry in self._waiting)

    def _trim(self) -> None:
        while self._n_bounded() > self._capacity:
            bounded = [entry for entry in self._waiting if not entry.message.retain]
            dropped = min(bounded, key=lambda entry: (_worth(entry), entry.ticket))
            self._waiting.remove(dropped)
            self._give_up(dropped, LossReason.OVERFLOW)

    def _give_up(self, entry: OutboxEntry, why: LossReason) -> None:
        if entry.is_event:
            self._losses.append(Loss(entry.message, why, may_have_arrived=entry.sendings > 0))

    def _leave_out(self, entry: OutboxEntry, why: LossReason) -> None:
        """Give up a message of any kind: that a state is never sent must be known as well."""
        may_have_arrived = entry.is_event and entry.sendings > 0
        self._losses.append(Loss(entry.message, why, may_have_arrived=may_have_arrived))


def _worth(entry: OutboxEntry) -> int:
    """Rank what has to go when there is no room: the least goes first."""
    if entry.is_fleeting:
        return 0
    return 1 if entry.message.final_of is None else 2
