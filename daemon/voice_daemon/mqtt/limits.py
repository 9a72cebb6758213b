"""Limits of a broker, and our messages lowered to them.

Pure; knows nothing of sockets or of what messages say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from voice_daemon.mqtt.topics import MqttMessage

_FIRST_BYTE_AND_PACKET_ID = 1 + 2
_TOPIC_LENGTH = 2
_PROPERTIES = 1 + 5
"""Their length, and a message expiry, where MQTT 5 is spoken; too many for 3.1.1, which is safe."""


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The limits of an MQTT 5 CONNACK; the defaults are those of a broker that names none."""

    receive_maximum: int = 65_535
    """Unacknowledged messages at a time."""
    maximum_qos: int = 1
    """0: the broker acknowledges nothing, and no delivery is ever certain."""
    retain_available: bool = True
    maximum_packet_bytes: int | None = None
    """None: whatever MQTT can carry."""
    wildcards_available: bool = True

    @classmethod
    def named(cls, properties: Mapping[str, Any]) -> BrokerLimits:
        """Read the limits from the properties of a CONNACK."""
        return cls(
            receive_maximum=properties.get("ReceiveMaximum", 65_535),
            maximum_qos=properties.get("MaximumQoS", 1),
            retain_available=bool(properties.get("RetainAvailable", 1)),
            maximum_packet_bytes=properties.get("MaximumPacketSize"),
            wildcards_available=bool(properties.get("WildcardSubscriptionAvailable", 1)),
        )

    def fits(self, message: MqttMessage) -> bool:
        """True when the broker takes a packet as large as this message's."""
        return self.maximum_packet_bytes is None or (
            packet_bytes(message) <= self.maximum_packet_bytes
        )

    def within(self, message: MqttMessage) -> MqttMessage:
        """Lower what the broker does not know: publishing so would end the connection."""
        return replace(
            message,
            qos=min(message.qos, self.maximum_qos),
            retain=message.retain and self.retain_available,
        )


NO_LIMITS = BrokerLimits()


def packet_bytes(message: MqttMessage) -> int:
    """Size of the PUBLISH packet that carries a message, exact for MQTT 5 with an expiry."""
    body = _TOPIC_LENGTH + len(message.topic.encode()) + _PROPERTIES + len(message.payload)
    length_digits = max(1, (body.bit_length() + 6) // 7)
    return _FIRST_BYTE_AND_PACKET_ID + length_digits + body
