"""A broker in hostile hands: speaks MQTT 3.1.1 and 5, and does at each packet what a test says.

Keeps what a client published and how. Knows nothing of subscribers: what it took counts as
delivered to them. `HoldingProxy` is a network that keeps bytes back in front of a real broker.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rigs.brokers import HOST

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    *(1, 2, 3, 4),
    *(8, 9, 12, 13, 14),
)
V311, V5 = 4, 5
_REFUSED_VERSION = b"\x00\x01"
_RESET = struct.pack("ii", 1, 0)


def varint(number: int) -> bytes:
    out = b""
    while True:
        number, digit = divmod(number, 128)
        out += bytes([digit | (0x80 if number else 0)])
        if not number:
            return out


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        digit = data[at]
        at += 1
        number |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return number, at


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int(struct.unpack_from("!H", data, at)[0])
    return data[at + 2 : end], end


@dataclass(frozen=True)
class Welcome:
    """A CONNECT as it came."""

    version: int
    client_id: str
    will_qos: int
    will_retain: bool

    @classmethod
    def read(cls, body: bytes) -> Welcome:
        version, flags, at = body[6], body[7], 10
        if version == V5:
            n_properties, at = _read_varint(body, at)
            at += n_properties
        return cls(version, _text(body, at)[0].decode(), flags >> 3 & 3, bool(flags & 0x20))


@dataclass(frozen=True)
class Published:
    """A PUBLISH as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    is_again: bool
    packet_id: int
    connection: int
    """Which connection it came by, from 1."""
    n_bytes: int
    """Size of the whole packet."""
    at_s: float

    @classmethod
    def read(cls, first: int, body: bytes, *, version: int, connection: int) -> Published:
        topic, at = _text(body, 0)
        qos, packet_id = first >> 1 & 3, 0
        if qos:
            packet_id = struct.unpack_from("!H", body, at)[0]
            at += 2
        if version == V5:
            n_properties, at = _read_varint(body, at)
            at += n_properties
        return cls(
            topic.decode(),
            body[at:],
            qos,
            bool(first & 1),
            bool(first & 8),
            packet_id,
            connection,
            1 + len(varint(len(body))) + len(body),
            time.monotonic(),
        )


class Peer:
    """One connection of a client."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.version = V311
        self.client_id = ""
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, kind: int, body: bytes, flags: int = 0) -> None:
        with self._lock:
            self._sock.sendall(bytes([kind << 4 | flags]) + varint(len(body)) + body)

    def welcome(self, code: int = 0, properties: bytes = b"") -> None:
        tail = varint(len(properties)) + properties if self.version == V5 else b""
        self.send(CONNACK, bytes([0, code]) + tail)

    def acknowledge(self, packet_id: int, code: int = 0) -> None:
        reason = bytes([code]) if code and self.version == V5 else b""
        self.send(PUBACK, struct.pack("!H", packet_id) + reason)

    def grant(self, body: bytes, code: int = 1) -> None:
        """Answer a SUBSCRIBE, every filter alike."""
        at, n_filters = 2, 0
        if self.version == V5:
            n_properties, at = _read_varint(body, at)
            at += n_properties
        while at < len(body):
            at, n_filters = _text(body, at)[1] + 1, n_filters + 1
        self.send(
            SUBACK, body[:2] + (b"\0" if self.version == V5 else b"") + bytes([code]) * n_filters
        )

    def dismiss(self, code: int) -> None:
        """Say DISCONNECT, which only MQTT 5 lets a broker do, and hang up."""
        if self.version == V5:
            self.send(DISCONNECT, bytes([code, 0]))
        self.hang_up()

    def hang_up(self, *, reset: bool = False) -> None:
        with contextlib.suppress(OSError):
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Give first byte and body of each packet, until the end."""
        with self._sock.makefile("rb") as stream:
            while head := stream.read(1):
                length = shift = 0
                while True:
                    digit = stream.read(1)[0]
                    length |= (digit & 127) << shift
                    shift += 7
                    if not digit & 128:
                        break
                yield head[0], stream.read(length)


class ScriptedBroker:
    """Obeys the standard, but for what a test replaces: `on_connect`, `on_publish`, `on_subscribe`.

    `versions`: those that it speaks. A connection ends the older one of the same client id.
    """

    def __init__(self, *versions: int) -> None:
        self.versions = versions or (V311, V5)
        self.on_connect: Callable[[Peer, Welcome], None] = lambda peer, _: peer.welcome()
        self.on_publish: Callable[[Peer, Published], None] = acknowledge
        self.on_subscribe: Callable[[Peer, bytes], None] = lambda peer, body: peer.grant(body)
        self.connects: list[Welcome] = []
        self.published: list[Published] = []
        self.peers: list[Peer] = []
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def on(self, leaf: str) -> list[Published]:
        return [one for one in self.published if one.topic.endswith(f"/{leaf}")]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                peer = Peer(sock, len(self.peers) + 1)
                self.peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: Peer) -> None:
        with contextlib.suppress(OSError, IndexError, ValueError):
            for first, body in peer.packets():
                if first >> 4 == DISCONNECT:
                    break
                self._act(peer, first, body)
        peer.hang_up()

    def _act(self, peer: Peer, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == CONNECT:
            self._welcome(peer, Welcome.read(body))
        elif kind == PUBLISH:
            one = Published.read(first, body, version=peer.version, connection=peer.number)
            self.published.append(one)
            self.on_publish(peer, one)
        elif kind == SUBSCRIBE:
            self.on_subscribe(peer, body)
        elif kind == PINGREQ:
            peer.send(PINGRESP, b"")

    def _welcome(self, peer: Peer, welcome: Welcome) -> None:
        if welcome.version not in self.versions:
            peer.send(CONNACK, _REFUSED_VERSION)
            peer.hang_up()
            return
        for older in self.peers:
            if older is not peer and older.client_id == welcome.client_id:
                older.hang_up()
        peer.version, peer.client_id = welcome.version, welcome.client_id
        self.connects.append(welcome)
        self.on_connect(peer, welcome)


def acknowledge(peer: Peer, one: Published) -> None:
    """Do what a good broker does with a message."""
    if one.qos:
        peer.acknowledge(one.packet_id)


class HoldingProxy:
    """Passes everything on to a broker, and keeps what a client sends back for a time, once.

    From the first packet that holds `marker`. It does not look whether the client has gone
    meanwhile: neither does a network whose bytes are on their way.
    """

    def __init__(self, broker_port: int, *, marker: bytes, hold_s: float) -> None:
        self._broker_port = broker_port
        self._marker = marker
        self._hold_s = hold_s
        self.held_at_s: float | None = None
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection((HOST, self._broker_port))
                for source, sink in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._marker in data and self.held_at_s is None:
                    self.held_at_s = time.monotonic()
                    time.sleep(self._hold_s)
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
