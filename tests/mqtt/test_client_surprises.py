"""What nobody expects of a client or a broker: it is told by its place, and does not come again."""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

import pytest
from structlog.testing import capture_logs

from rigs.brokers import HOST, Mosquitto, Observer, eventually
from support.mqtt_clients import AVAILABILITY, TOPICS, StartDaemon, final
from voice_daemon.mqtt.connection import Connection, Protocol, SelfPipe, Target
from voice_daemon.mqtt.errors import LinkError
from voice_daemon.mqtt.messages import availability
from voice_daemon.mqtt.topics import MqttMessage, Topics

WELCOME = b"\x20\x03\x00\x00\x00"
COMMAND = b"voice/den/cmd/listen"
CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xE0


def packet(header: int, body: bytes) -> bytes:
    """A short packet, for lengths of one byte."""
    return bytes([header, len(body)]) + body


def publish(topic: bytes, payload: bytes = b"") -> bytes:
    return packet(PUBLISH, struct.pack("!H", len(topic)) + topic + b"\0" + payload)


class MadBroker:
    """Welcomes every client by MQTT 5 and says the next of its `sayings` to it."""

    def __init__(self, *sayings: bytes, hangs_up: bool = False) -> None:
        self._sayings = iter(sayings)
        self._hangs_up = hangs_up
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.n_clients = 0
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self._clients.append(client)
            client.recv(4096)
            client.sendall(WELCOME + next(self._sayings, b""))
            self.n_clients += 1
            if self._hangs_up:
                with suppress(OSError):  # the client may have been first
                    client.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in (self._listener, *self._clients):
            sock.close()


@pytest.mark.parametrize(
    "topic", [b"\xff\xfe", b"voice/den/cmd/\xed\xa0\x80", b"voice/den/\xc0/set"]
)
def test_a_topic_that_is_not_text_is_passed_over(topic: bytes, start_daemon: StartDaemon) -> None:
    with MadBroker(publish(topic, b"x") + publish(COMMAND)) as mad:
        daemon = start_daemon(mad.port)
        eventually(lambda: daemon.commands, "what comes after it is heard")
        assert daemon.is_connected
        assert mad.n_clients == 1


def nonsense(dice: random.Random) -> bytes:
    """Some packets that begin like those of a broker, and go on like none."""
    said = []
    for _ in range(dice.randint(1, 5)):
        body = dice.choice(
            [
                struct.pack("!HB", dice.choice([0, 1, 2, 65_535]), dice.randrange(256)),
                struct.pack("!H", dice.randint(0, 9)) + dice.randbytes(dice.randint(0, 30)),
                struct.pack("!H", len(COMMAND)) + COMMAND + dice.randbytes(dice.randint(0, 9)),
                dice.randbytes(dice.randint(0, 12)),
            ]
        )
        kind = dice.choice([CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT, dice.randrange(256)])
        said.append(packet(kind | dice.choice([0, 0, 2, dice.randrange(16)]), body))
    return b"".join(said)


def test_nonsense_from_a_broker_ends_the_connection_and_is_no_fault_of_ours() -> None:
    dice, n_connections = random.Random(2026), 1500  # noqa: S311 - no secret
    self_pipe, will = SelfPipe(), availability(TOPICS, online=False)
    with MadBroker(*(nonsense(dice) for _ in range(n_connections)), hangs_up=True) as mad:
        for _ in range(n_connections):
            target = Target(HOST, mad.port, "den", keepalive_s=60)
            link = Connection(target, Protocol.V5, will=will, self_pipe=self_pipe)
            with pytest.raises(LinkError):  # noqa: PT012 - it may come at any step
                link.open(connect_timeout_s=5, answer_timeout_s=5, cancelled=lambda: False)
                while True:
                    link.step(5)
            link.abort()
    self_pipe.close()


def test_a_fault_of_the_client_is_named_by_its_place_and_not_by_its_words(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    def break_down(_: object) -> None:
        raise KeyError("a word of somebody's")

    observer = Observer(broker.port)
    daemon = start_daemon(broker.port, on_command=break_down, reconnect_max_s=3600)
    observer.wait(AVAILABILITY, b"online")
    with capture_logs() as logs:
        observer.publish(COMMAND.decode(), "")
        eventually(lambda: daemon.error_code == "mqtt.internal", "it is told")
    error = daemon.client.status().last_error
    assert error is not None
    assert "KeyError at router.py:" in error.message
    assert "somebody" not in error.message
    assert "mqtt.crashed" in {entry["event"] for entry in logs}
    observer.close()


def test_a_message_that_no_connection_could_carry_is_given_up_alone(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port)
    with capture_logs() as logs:
        for retain in (True, False):
            daemon.client.publish(MqttMessage("voice/#", b"", retain=retain))
        daemon.client.publish(final(topics, "s1"))
        observer.wait("voice/den/transcript/final")
        eventually(lambda: daemon.client.status().queued == 0, "nothing waits for ever")
    assert daemon.client.status().reconnects == 0
    assert [loss.message.topic for loss in daemon.losses] == ["voice/#"]
    assert [e["topic"] for e in logs if e["event"] == "mqtt.unsendable"] == ["voice/#"] * 2
    observer.close()
