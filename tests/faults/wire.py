"""A network between a daemon and its broker that can be cut, slowed or made to swallow packets.

Reads MQTT packets as they pass, so that a fault can strike at an exact point of a session, and
keeps the daemon's publishes with what became of each. Knows nothing of what payloads mean.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rigs.brokers import HOST

_CONNECT, _PUBLISH, _PUBACK = 1, 3, 4
_MQTT_5 = 5
_CONTINUES = 0x80


@dataclass
class Passed:
    """A publish of the daemon as it went by, perhaps once more after a reconnect."""

    topic: str
    payload: bytes
    packet_id: int
    is_acknowledged: bool = False

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.payload))


@dataclass(frozen=True)
class _Trap:
    """What happens, once, at a publish on a topic."""

    leaf: str
    act: Callable[[], None]
    at_acknowledgement: bool


class _Cut(Exception):  # noqa: N818 - no error, a way out
    """This connection is over."""


class Wire:
    """Connects whoever comes to `port` with the broker, while it is whole."""

    def __init__(self, broker_port: int) -> None:
        self.passed: list[Passed] = []
        self.delay_s = 0.0
        """Each packet waits so long."""
        self._broker_port = broker_port
        self._lock = threading.RLock()
        self._sockets: set[socket.socket] = set()
        self._traps: list[_Trap] = []
        self._swallows = False
        self._refuses = False
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.n_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and refuse new ones until `mend`."""
        self._refuses = True
        self._hang_up()

    def swallow(self) -> None:
        """Take everything and pass nothing on, in both directions, without a word."""
        self._swallows = True

    def mend(self) -> None:
        """Be a good network again; what lost packets meanwhile is broken off."""
        if self._swallows:
            self._hang_up()
        self._swallows = self._refuses = False

    def at_publish(self, leaf: str, act: Callable[[], None]) -> None:
        """Have `act` done when the daemon next publishes on a topic, before the broker knows."""
        self._traps.append(_Trap(leaf, act, at_acknowledgement=False))

    def at_acknowledgement(self, leaf: str, act: Callable[[], None]) -> None:
        """Have `act` done when the broker has the daemon's next publish, which never learns of it.

        The connection ends then.
        """
        self._traps.append(_Trap(leaf, act, at_acknowledgement=True))

    def on(self, leaf: str) -> list[Passed]:
        return [passed for passed in self.passed if passed.topic.endswith(f"/{leaf}")]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                daemon, _ = self._listener.accept()
                self.n_connections += 1
                threading.Thread(target=self._connect, args=(daemon,), daemon=True).start()

    def _connect(self, daemon: socket.socket) -> None:
        with daemon, contextlib.suppress(OSError, _Cut):
            if self._refuses:
                return
            if self._swallows:
                self._keep(daemon)
                while daemon.recv(65_536):
                    pass
                return
            with socket.create_connection((HOST, self._broker_port)) as broker:
                self._keep(daemon, broker)
                connection = _Connection(self, daemon, broker)
                back = threading.Thread(target=connection.carry_back, daemon=True)
                back.start()
                connection.carry_there()
                back.join()

    def _keep(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._sockets.update(sockets)

    def spring(self, topic: str, *, at_acknowledgement: bool) -> bool:
        """Do what was planned for this moment; tell whether anything was."""
        for trap in self._traps:
            if trap.at_acknowledgement is at_acknowledgement and topic.endswith(f"/{trap.leaf}"):
                self._traps.remove(trap)
                trap.act()
                return True
        return False

    def carry(self, packet: bytes, sink: socket.socket) -> None:
        """Pass a packet on, as the network is now."""
        if self.delay_s:
            time.sleep(self.delay_s)
        if self._refuses:
            raise _Cut
        if not self._swallows:
            sink.sendall(packet)


class _Connection:
    """One connection's two ways."""

    def __init__(self, wire: Wire, daemon: socket.socket, broker: socket.socket) -> None:
        self._wire = wire
        self._daemon = daemon
        self._broker = broker
        self._version = 0
        self._unacknowledged: dict[int, Passed] = {}

    def carry_there(self) -> None:
        """Carry what the daemon says until either side ends."""
        with contextlib.suppress(OSError, _Cut):
            for kind, flags, body, packet in _packets(self._daemon):
                if kind == _CONNECT:
                    self._version = body[6]
                elif kind == _PUBLISH:
                    passed = _publish(body, qos=flags >> 1 & 3, version=self._version)
                    self._wire.spring(passed.topic, at_acknowledgement=False)
                    self._wire.passed.append(passed)
                    self._unacknowledged[passed.packet_id] = passed
                self._wire.carry(packet, self._broker)
        self._end()

    def carry_back(self) -> None:
        """Carry what the broker says until either side ends."""
        with contextlib.suppress(OSError, _Cut):
            for kind, _, body, packet in _packets(self._broker):
                passed = None
                if kind == _PUBACK:
                    passed = self._unacknowledged.get(struct.unpack_from("!H", body)[0])
                if passed is not None and self._wire.spring(passed.topic, at_acknowledgement=True):
                    raise _Cut  # the daemon must not learn of it, however soon the broker is gone
                self._wire.carry(packet, self._daemon)
                if passed is not None:
                    passed.is_acknowledged = True
        self._end()

    def _end(self) -> None:
        for sock in (self._daemon, self._broker):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _packets(source: socket.socket) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Give kind, flags, body and all bytes of each packet, until the end."""
    with source.makefile("rb") as stream:
        while first := stream.read(1):
            head, length, shift = bytearray(first), 0, 0
            while True:
                digit = stream.read(1)[0]
                head.append(digit)
                length |= (digit & ~_CONTINUES) << shift
                shift += 7
                if not digit & _CONTINUES:
                    break
            body = stream.read(length)
            yield first[0] >> 4, first[0] & 15, body, bytes(head) + body


def _publish(body: bytes, *, qos: int, version: int) -> Passed:
    """Read a PUBLISH's body."""
    end = 2 + struct.unpack_from("!H", body)[0]
    topic, packet_id = body[2:end].decode(), 0
    if qos:
        packet_id = struct.unpack_from("!H", body, end)[0]
        end += 2
    if version == _MQTT_5:
        n_properties, shift = 0, 0
        while True:
            digit = body[end]
            end += 1
            n_properties |= (digit & ~_CONTINUES) << shift
            shift += 7
            if not digit & _CONTINUES:
                break
        end += n_properties
    return Passed(topic, body[end:], packet_id)
