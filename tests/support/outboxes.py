"""An outbox on a clock of its own, and messages of each kind for it."""

from __future__ import annotations

from datetime import UTC, datetime

from support.manual_clock import ManualClock
from support.mqtt_clients import TOPICS
from support.transcripts import final_of
from voice_daemon.mqtt.losses import Loss
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.outbox import Outbox, OutboxEntry
from voice_daemon.mqtt.topics import MqttMessage

AT = datetime(2026, 1, 2, tzinfo=UTC)


def event(name: str, *, expiry_s: float | None = 30) -> MqttMessage:
    return MqttMessage("event", name.encode(), expiry_s=expiry_s)


def partial(name: str) -> MqttMessage:
    return MqttMessage("partial", name.encode(), qos=0, expiry_s=2)


def state(name: str, topic: str = "state") -> MqttMessage:
    return MqttMessage(topic, name.encode(), retain=True)


def final(session_id: str, ttl_s: float = 30) -> MqttMessage:
    return for_event(final_of(session_id), topics=TOPICS, at=AT, final_ttl_s=ttl_s)[0]


class Box(Outbox):
    """An outbox with a clock of its own, and short words for what tests do with it."""

    def __init__(self, *, capacity: int = 10, never_aside: tuple[str, ...] = ()) -> None:
        self.clock = ManualClock(0)
        super().__init__(capacity=capacity, stall_s=3, never_aside=never_aside, clock_s=self.clock)

    def put_all(self, *messages: MqttMessage) -> None:
        for message in messages:
            self.put(message)

    def take_all(self) -> list[str]:
        """Take and acknowledge until nothing is left; give the payloads."""
        taken = []
        while (entry := self.take()) is not None:
            taken.append(entry.message.payload.decode())
            self.acknowledge(entry.ticket)
        return taken

    def send(self) -> OutboxEntry:
        entry = self.take()
        assert entry is not None
        return entry

    def breaks(self) -> None:
        """The connection ends, and another one is there."""
        self.disconnected()
        self.connected()

    @property
    def losses(self) -> tuple[Loss, ...]:
        return self.settle()[0]
