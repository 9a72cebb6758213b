"""The topic tree, and the one shape of a message for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

SCHEMA: Final = 1
"""Version of every JSON payload."""

NODE_PATTERN: Final = re.compile(r"[a-z0-9_-]{1,64}")


class Leaf(StrEnum):
    """The fixed ends of topics, below `<base>/<node>/`."""

    AVAILABILITY = "availability"
    INFO = "info"
    STATE = "state"
    HEALTH = "health"
    WAKE = "wake"
    SESSION = "session"
    PARTIAL = "transcript/partial"
    FINAL = "transcript/final"
    WORDS = "words"
    ERROR = "error"
    VOCABULARY = "vocabulary"
    VOCABULARY_STATE = "vocabulary/state"


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """One message to publish.

    `expiry_s` is how long it is worth anything, from the moment it is handed to the client:
    past that it is not sent. None means that it never gets old.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: float | None = None
    final_of: str | None = None
    """The session whose final this is: losing it is reported."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node. The configuration has seen to it that a broker takes them."""

    base: str
    node: str

    @property
    def root(self) -> str:
        """`<base>/<node>`."""
        return f"{self.base}/{self.node}"

    def path(self, leaf: Leaf) -> str:
        """Give the full topic of a fixed leaf."""
        return f"{self.root}/{leaf.value}"

    def setting_state(self, name: str) -> str:
        """Give the topic that retains the value in force of setting `name`."""
        return f"{self.root}/{name}/state"

    def setting(self, name: str) -> str:
        """Give the topic that sets `name`."""
        return f"{self.root}/{name}/set"

    def command(self, verb: str) -> str:
        """Give the topic that asks for `verb`."""
        return f"{self.root}/cmd/{verb}"

    def response(self, verb: str) -> str:
        """Give the topic that answers `cmd/<verb>`."""
        return f"{self.root}/response/{verb}"

    @property
    def command_filters(self) -> tuple[str, str]:
        """The subscriptions that carry commands and settings."""
        return f"{self.root}/cmd/+", f"{self.root}/+/set"


def default_client_id(node: str) -> str:
    """Give the MQTT client id of a node that has none configured."""
    return f"voice-daemon-{node}"


def encode_json(document: dict[str, Any]) -> bytes:
    """Write compact UTF-8 JSON, keys in the order given.

    Raises ValueError for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", errors="replace")


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
    # MQTT writes a packet's length in seven bits a byte.
    length_digits = max(1, (body.bit_length() + 6) // 7)
    return _FIRST_BYTE_AND_PACKET_ID + length_digits + body
