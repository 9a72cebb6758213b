"""One connection to the broker, from the first packet to the close; never used twice.

Drives paho's client by its own select loop, on the caller's thread alone: nothing here blocks past
the times given, and nothing in flight survives into the next connection.
"""

from __future__ import annotations

import contextlib
import math
import select
import selectors
import socket
import ssl
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from paho.mqtt.client import (
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
)
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from voice_daemon.mqtt.errors import (
    LinkError,
    connect_fault,
    disconnect_fault,
    no_answer_fault,
    refusal_fault,
    stopped_fault,
)
from voice_daemon.mqtt.topics import NO_LIMITS, BrokerLimits, MqttMessage

MAX_INCOMING_BYTES: Final = 65_536
"""Largest packet from the broker, where MQTT 5 lets us say so."""


class Protocol(StrEnum):
    """The MQTT version spoken."""

    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True)
class Target:
    """The broker to connect to, and our credentials."""

    host: str
    port: int
    client_id: str
    keepalive_s: int
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    silence_s: float = 10.0
    """The kernel gives up on bytes that the other side has not confirmed for so long."""

    @property
    def url(self) -> str:
        """`mqtt://host:port`, or `mqtts`; never with credentials."""
        return broker_url(self.host, self.port, tls=self.tls is not None)


def broker_url(host: str, port: int, *, tls: bool) -> str:
    """Write a broker's address for people."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'mqtts' if tls else 'mqtt'}://{shown}:{port}"


class _Client(Client):
    """paho's client, which reads in large pieces and can say that a message was sent before."""

    is_again = False
    """True while a message is published that an earlier connection may have delivered."""

    _buffer = b""
    _buffer_at = 0

    @property
    def has_unread(self) -> bool:
        """True while bytes are here that select cannot see."""
        return self._buffer_at < len(self._buffer)

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for a byte or two at a time. Each call gives other threads the interpreter, and
        # beside a recogniser that computes, a flood would take seconds to read.
        if not self.has_unread:
            self._buffer, self._buffer_at = super()._sock_recv(MAX_INCOMING_BYTES), 0
        at = self._buffer_at
        data = self._buffer[at : at + bufsize]
        self._buffer_at += len(data)
        return data

    def _send_publish(  # noqa: PLR0917 - as inherited
        self,
        mid: int,
        topic: bytes,
        payload: bytes | bytearray = b"",
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002
        dup: bool = False,  # noqa: FBT001, FBT002
        info: MQTTMessageInfo | None = None,
        properties: Properties | None = None,
    ) -> MQTTErrorCode:
        # paho sets DUP within its own session alone, and ours ends with the connection.
        is_again = dup or (self.is_again and qos > 0)
        return super()._send_publish(mid, topic, payload, qos, retain, is_again, info, properties)


def build_client(target: Target, protocol: Protocol, will: MqttMessage) -> _Client:
    """Build a client that never reconnects by itself and leaves all writing to its owner."""
    v5 = protocol is Protocol.V5
    client = _Client(
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
    client.on_socket_register_write = lambda *_: None
    return client


class SelfPipe:
    """A pipe to oneself: `wake` from any thread, all else from the thread that waits."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def fileno(self) -> int:
        """Give the descriptor that turns readable when woken."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the wait. With the pipe full it is about to end; with it closed nobody waits."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Sleep at most `timeout_s`, less when woken."""
        if select.select([self], [], [], timeout_s)[0]:
            self.drain()

    def drain(self) -> None:
        """Take back what `wake` wrote."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Give the descriptors back."""
        self._reader.close()
        self._writer.close()


_TURN_S: Final = 0.1
"""Interval at which opening and closing look whether they should give up."""

_PACKETS_A_TURN: Final = 256
"""Read at most before others have their turn: what waits to be sent, and keep-alive."""

_TCP_RXT_CONNDROPTIME: Final = 0x80
"""From macOS's netinet/tcp.h: seconds without an acknowledgement until the kernel gives up."""
_UNSPECIFIED: Final = 128
"""The reason code that paho gives for a connection that simply ended."""

_ABORT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER value: throw unsent bytes away and reset, so that no stale message leaves later."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the broker."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class PubAck:
    """The broker's word on a message that we sent."""

    mid: int
    refusal: str | None
    """Its reason, when it turned the message down."""
    code: int = 0
    """The same as MQTT's number."""


@dataclass(frozen=True, slots=True)
class RefusedFilter:
    """A subscription that the broker turned down."""

    topic_filter: str
    reason: str


class Connection:
    """One connection. After `LinkError`, `close` or `abort` it is of no more use."""

    def __init__(
        self, target: Target, protocol: Protocol, *, will: MqttMessage, self_pipe: SelfPipe
    ) -> None:
        self.protocol = protocol
        self.url = target.url
        self.received: deque[Received] = deque()
        self.receipts: deque[PubAck] = deque()
        self.refused_filters: deque[RefusedFilter] = deque()
        self.limits: BrokerLimits = NO_LIMITS
        """The limits that the broker named."""
        self._asked: dict[int, tuple[str, ...]] = {}
        """Filters that the broker has not answered for, by the id of the answer."""
        self._target = target
        self._self_pipe = self_pipe
        self._selector = selectors.DefaultSelector()
        self._selector.register(self_pipe, selectors.EVENT_READ)
        self._welcome: ReasonCode | None = None
        self._broker_reason: ReasonCode | None = None
        self._last_problem = ""
        self._is_closing = False
        self._client = build_client(target, protocol, will)
        self._client.on_connect = self._on_connect  # type: ignore[assignment] # V2's own form
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_log = self._on_log
        self._client.on_socket_open = self._on_socket_open
        self._client.on_socket_close = self._on_socket_close

    def open(
        self, *, connect_timeout_s: float, answer_timeout_s: float, cancelled: Callable[[], bool]
    ) -> None:
        """Connect and wait for the broker's welcome; raises `LinkError`."""
        self._client.connect_timeout = connect_timeout_s
        try:
            self._connect(self._target)
        except (OSError, UnicodeError) as error:
            raise connect_fault(error, self.url) from error
        give_up_s = time.monotonic() + answer_timeout_s
        while self._welcome is None:
            if cancelled():
                raise stopped_fault(self.url)
            if time.monotonic() >= give_up_s:
                raise no_answer_fault(self.url, answer_timeout_s)
            self.step(_TURN_S)

    def _connect(self, to: Target) -> None:
        """Open the socket and send CONNECT; raises OSError, and UnicodeError for an odd host."""
        if self.protocol is Protocol.V311:
            self._client.connect(to.host, to.port, to.keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho
        properties.MaximumPacketSize = MAX_INCOMING_BYTES
        self._client.connect(
            to.host, to.port, to.keepalive_s, clean_start=True, properties=properties
        )

    def step(self, timeout_s: float) -> None:
        """Read and write what can be, waiting at most `timeout_s` or until woken.

        Raises `LinkError` once the connection is gone.
        """
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            self._turn(sock, timeout_s)
        if self._client.socket() is None and not self._is_closing:
            raise self._fault()

    def _turn(self, sock: socket.socket, timeout_s: float) -> None:
        wanted = (
            selectors.EVENT_READ
            if self.is_flushed
            else selectors.EVENT_READ | selectors.EVENT_WRITE
        )
        # Only while there is something to write: a socket can nearly always be written to.
        self._selector.modify(sock, wanted)
        # TLS may hold decrypted bytes that select cannot see.
        is_readable = self._client.has_unread or (
            isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        )
        for key, mask in self._selector.select(0 if is_readable else timeout_s):
            if key.fileobj is self._self_pipe:
                self._self_pipe.drain()
            elif mask & selectors.EVENT_READ:
                is_readable = True
        if is_readable:
            self._read()
        self.flush()
        # Pings, and gives up on a broker that answers none.
        self._client.loop_misc()

    def _read(self) -> None:
        """Read what is there, up to a bound: acknowledgements must not wait behind a flood."""
        n_before = -1
        for _ in range(_PACKETS_A_TURN):
            n_now = len(self.received) + len(self.receipts)
            if n_now == n_before or self._client.socket() is None:
                return
            n_before = n_now
            self._client.loop_read()

    def flush(self) -> None:
        """Write what the socket takes now."""
        if self._client.want_write():
            self._client.loop_write()

    @property
    def is_flushed(self) -> bool:
        """True when the socket took everything; publish no more while it has not."""
        return not self._client.want_write()

    def publish(self, message: MqttMessage, *, expiry_s: int | None, is_again: bool = False) -> int:
        """Hand a message over, as the broker can take it; gives the id of its `PubAck`.

        `expiry_s`: what is left of its life, told to the broker where MQTT 5 carries that.
        """
        self._client.is_again = is_again
        lowered, properties = self.limits.within(message), None
        if expiry_s is not None and self.protocol is Protocol.V5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho
            properties.MessageExpiryInterval = expiry_s
        return self._client.publish(
            lowered.topic, lowered.payload, lowered.qos, lowered.retain, properties
        ).mid

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for messages at QoS 1; what the broker refuses appears in `refused_filters`."""
        if not self.limits.wildcards_available:
            refused = [name for name in filters if "+" in name or "#" in name]
            why = "it knows no wildcards"
            self.refused_filters += [RefusedFilter(name, why) for name in refused]
            filters = tuple(name for name in filters if name not in refused)
        if not filters:
            return
        if self.protocol is Protocol.V5:
            # As published: or a message that someone retained right now would look fresh.
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            _, mid = self._client.subscribe([(name, options) for name in filters])
        else:
            _, mid = self._client.subscribe([(name, 1) for name in filters])
        if mid is not None:
            self._asked[mid] = filters

    @property
    def is_subscribed(self) -> bool:
        """True once the broker has answered for every subscription, yes or no."""
        return not self._asked

    def close(self, *, timeout_s: float) -> None:
        """Say goodbye, so that the broker withholds the will; `abort` must follow."""
        self._is_closing = True
        self._client.disconnect()
        give_up_s = time.monotonic() + timeout_s
        while self._client.socket() is not None and time.monotonic() < give_up_s:
            self.step(_TURN_S)

    def abort(self) -> None:
        """Drop the connection at once, if it is still there, and free everything."""
        sock = self._client.socket()
        # paho closes once more when it is collected, and the selector is gone by then.
        self._client.on_socket_close = None
        if sock is not None:
            _discard_on_close(sock)
            sock.close()
        self._selector.close()

    def _fault(self) -> LinkError:
        """Say why the connection is gone."""
        if self._welcome is not None and self._welcome.is_failure:
            return refusal_fault(self._welcome, self.url)
        return disconnect_fault(
            self.url,
            welcomed=self._welcome is not None,
            from_broker=self._broker_reason,
            detail=self._last_problem,
        )

    def _on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties,
    ) -> None:
        self._welcome = reason
        if self.protocol is Protocol.V5 and not reason.is_failure:
            self.limits = BrokerLimits.named(properties.json())  # type: ignore[no-untyped-call] # paho

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._broker_reason = reason
        elif not self._last_problem and reason.is_failure and reason.value != _UNSPECIFIED:
            self._last_problem = str(reason)

    def _on_publish(
        self, _client: Client, _userdata: object, mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        refusal = str(reason) if reason.is_failure else None
        self.receipts.append(PubAck(mid, refusal, reason.value))

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        filters = self._asked.pop(mid, ())
        # A broker that answers for fewer filters than it was asked for has not granted the rest.
        answers = [*reasons, *[None] * (len(filters) - len(reasons))]
        for name, reason in zip(filters, answers, strict=False):
            if reason is None or reason.is_failure:
                self.refused_filters.append(RefusedFilter(name, str(reason or "no answer")))

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        # MQTT wants topics in UTF-8, and ours are; a broker that does not care may pass others on.
        with contextlib.suppress(UnicodeDecodeError):
            topic, payload = message.topic, bytes(message.payload)
            self.received.append(Received(topic, payload, message.retain))

    def _on_log(self, _client: Client, _userdata: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._last_problem = text

    def _on_socket_open(self, _client: Client, _userdata: object, sock: Any) -> None:
        if isinstance(sock, socket.socket):
            # A partial must not wait in the kernel for the acknowledgement of the one before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _limit_retransmission(sock, self._target.silence_s)
        self._selector.register(sock, selectors.EVENT_READ)

    def _on_socket_close(self, _client: Client, _userdata: object, sock: Any) -> None:
        self._selector.unregister(sock)
        if not self._is_closing:
            _discard_on_close(sock)


def _limit_retransmission(sock: socket.socket, silence_s: float) -> None:
    """Have the kernel drop the connection itself: a machine that wakes retransmits before us."""
    with contextlib.suppress(OSError):  # an older kernel
        if sys.platform == "darwin":
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, math.ceil(silence_s))
        elif sys.platform == "linux":
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(1000 * silence_s)
            )


def _discard_on_close(sock: object) -> None:
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):  # macOS: EINVAL once the peer has reset it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
