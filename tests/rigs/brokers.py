"""A real mosquitto for tests, and a subscriber that waits for what it should see."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST = "127.0.0.1"
DEADLINE_S = 15.0
"""For conditions that come true in well under a second; only a failing test waits so long."""

_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def mosquitto_program() -> str:
    return _program("mosquitto")


def password_program() -> str:
    return _program("mosquitto_passwd")


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    if found is None:
        pytest.fail(
            f"these tests need {name}: `apt-get install mosquitto` or `brew install mosquitto`"
        )
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds; fail with `what` when it never does."""
    give_up_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail(f"never came true: {what}")
        time.sleep(0.01)


@dataclass
class Mosquitto:
    """A broker with a configuration of its own; `settings` are lines for its listener."""

    folder: Path
    settings: tuple[str, ...] = ("allow_anonymous true",)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        config = self.folder / f"mosquitto-{self.port}.conf"
        lines = ("persistence false", "log_type all", f"user {getpass.getuser()}")
        config.write_text("\n".join((f"listener {self.port} {HOST}", *lines, *self.settings, "")))
        with (self.folder / f"mosquitto-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [mosquitto_program(), "-c", str(config)], stdout=log, stderr=log
            )
        eventually(self._answers, f"mosquitto answers on {self.port}: see {self.folder}")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False

    def log_text(self) -> str:
        return (self.folder / f"mosquitto-{self.port}.log").read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, without goodbyes."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


class Gate:
    """A way to the broker that can be shut or held up, while others talk to it directly."""

    def __init__(self, broker_port: int) -> None:
        self.port = free_port()
        self._broker_port = broker_port
        self._sockets: list[socket.socket] = []
        self._out, self._back = threading.Event(), threading.Event()
        self.release()

    def hold(self, *, answers_only: bool = False) -> None:
        """Keep what is sent until `release`: either way, or what the broker answers."""
        self._back.clear()
        if not answers_only:
            self._out.clear()

    def release(self) -> None:
        self._out.set()
        self._back.set()

    def open(self) -> None:
        listener = socket.create_server((HOST, self.port))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    broker = socket.create_connection((HOST, self._broker_port))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, broker]
                ways = ((client, broker, self._out), (broker, client, self._back))
                for source, sink, flows in ways:
                    threading.Thread(target=_pump, args=(source, sink, flows), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            flows.wait()
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


@dataclass(frozen=True)
class Seen:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    expiry_s: int | None
    at_s: float = field(default_factory=time.monotonic, compare=False)


class Observer:
    """Subscribes to everything, on a connection of its own."""

    def __init__(
        self,
        port: int,
        *,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        login: tuple[str, str] | None = None,
        topic_filter: str = "#",
        hears_retained: bool = True,
    ) -> None:
        """`hears_retained`: what others left at the broker before, too (always in 3.1.1)."""
        self._seen: list[Seen] = []
        handling = (
            SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            if hears_retained
            else SubscribeOptions.RETAIN_DO_NOT_SEND
        )
        self._change = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        if login is not None:
            self._client.username_pw_set(*login)
        subscribed = threading.Event()
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_connect = lambda client, *_: client.subscribe(
            topic_filter,
            **(
                {"options": SubscribeOptions(qos=1, retainHandling=handling)}
                if protocol is MQTTProtocolVersion.MQTTv5
                else {"qos": 1}
            ),
        )
        self._client.connect(HOST, port)
        self._client.loop_start()
        assert subscribed.wait(DEADLINE_S), "the observer could not subscribe"

    def _on_message(self, _client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        properties = message.properties
        expiry_s = getattr(properties, "MessageExpiryInterval", None)
        seen = Seen(message.topic, bytes(message.payload), message.qos, message.retain, expiry_s)
        with self._change:
            self._seen.append(seen)
            self._change.notify_all()

    @property
    def seen(self) -> list[Seen]:
        with self._change:
            return list(self._seen)

    def on(self, topic: str) -> list[bytes]:
        return [message.payload for message in self.seen if message.topic == topic]

    def wait(self, topic: str, payload: bytes | None = None) -> Seen:
        """Give the first message on `topic` (with `payload`), as soon as it is there."""

        def found() -> Seen | None:
            return next(
                (
                    message
                    for message in self._seen
                    if message.topic == topic and payload in (None, message.payload)
                ),
                None,
            )

        with self._change:
            if not self._change.wait_for(found, DEADLINE_S):
                pytest.fail(f"never saw {topic} {payload!r}; saw {self._seen}")
            message = found()
        assert message is not None
        return message

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(DEADLINE_S)

    def send(self, topic: str, payload: bytes | str) -> None:
        """Publish at QoS 0, without waiting for anything."""
        self._client.publish(topic, payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its last two sockets when it is dropped, and a circle would keep it until
        # the collector finds those first, and warns of them in whichever test runs by then.
        self._client.on_message = None
