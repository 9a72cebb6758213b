"""Builds paho's client for one connection, with what paho leaves open decided.

Knows nothing of when to connect or of what is sent; `link` drives what is built here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

if TYPE_CHECKING:
    import ssl

    from voice_daemon.mqtt.topics import MqttMessage

MAX_INCOMING_BYTES: Final = 65_536
"""What the broker may send us in one packet, where MQTT 5 lets us say so."""


class Protocol(StrEnum):
    """The MQTT version spoken."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to connect to, and as whom."""

    host: str
    port: int
    client_id: str
    keepalive_s: int
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        """`mqtt://host:port`, or `mqtts`; never with credentials."""
        return broker_url(self.host, self.port, tls=self.tls is not None)


def broker_url(host: str, port: int, *, tls: bool) -> str:
    """Write a broker's address for people."""
    return f"{'mqtts' if tls else 'mqtt'}://{host}:{port}"


def build_client(target: Target, protocol: Protocol, will: MqttMessage) -> Client:
    """Build a client that never reconnects by itself and leaves all writing to its owner."""
    v5 = protocol is Protocol.V5
    client = Client(
        CallbackAPIVersion.VERSION2,
        target.client_id,
        clean_session=None if v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    if target.username is not None:
        # paho sends bytes as they are; its hint knows only text.
        client.username_pw_set(target.username, target.password)  # type: ignore[arg-type]
    if target.tls is not None:
        client.tls_set_context(target.tls)
    client.will_set(will.topic, will.payload, will.qos, will.retain)
    # Its presence tells paho that we write; it would write from inside publish() otherwise.
    client.on_socket_register_write = _ignore_socket
    return client


def connect_client(client: Client, target: Target, protocol: Protocol) -> None:
    """Open the socket and send CONNECT; raises OSError, and UnicodeError for an odd host."""
    if protocol is Protocol.V311:
        client.connect(target.host, target.port, target.keepalive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho
    properties.MaximumPacketSize = MAX_INCOMING_BYTES
    client.connect(
        target.host, target.port, target.keepalive_s, clean_start=True, properties=properties
    )


def publish_with(
    client: Client, protocol: Protocol, message: MqttMessage, *, expiry_s: int | None
) -> int:
    """Queue a message, with what is left of its life where MQTT 5 carries that; gives its id."""
    properties = None
    if expiry_s is not None and protocol is Protocol.V5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho
        properties.MessageExpiryInterval = expiry_s
    return client.publish(
        message.topic, message.payload, message.qos, message.retain, properties
    ).mid


def subscribe_with(client: Client, protocol: Protocol, filters: tuple[str, ...]) -> None:
    """Ask for what matches, at QoS 1."""
    if protocol is Protocol.V5:
        # As published: or a message that someone retained right now would look fresh.
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        client.subscribe([(name, options) for name in filters])
    else:
        client.subscribe([(name, 1) for name in filters])


def _ignore_socket(_client: Client, _userdata: object, _sock: object) -> None:
    """Stand in for a callback that paho only wants to exist."""
