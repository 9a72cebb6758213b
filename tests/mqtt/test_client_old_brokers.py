"""Brokers that know MQTT 3.1.1 alone, or speak it badly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from structlog.testing import capture_logs

from rigs.brokers import HOST, Observer, eventually, free_port
from support.mqtt_clients import AVAILABILITY, FINAL, StartDaemon, final
from voice_daemon.demo.broker import DemoBroker, amqtt_broker
from voice_daemon.mqtt.topics import Topics


def test_a_wrong_password_is_known_by_mqtt_311_too(
    secret_file: Path, start_daemon: StartDaemon
) -> None:
    with ScriptedBroker(welcome_311=5) as old:
        daemon = start_daemon(old.port, username="daemon", password_file=secret_file)
        eventually(lambda: daemon.error_code == "mqtt.not_authorised", "it is refused")


def test_a_client_told_that_another_has_its_id_does_not_fight(start_daemon: StartDaemon) -> None:
    welcome_then_taken_over = b"\x20\x03\x00\x00\x00" + b"\xe0\x02\x8e\x00"
    with ScriptedBroker(answer_5=welcome_then_taken_over) as rival, capture_logs() as logs:
        daemon = start_daemon(rival.port, reconnect_max_s=60)
        eventually(lambda: daemon.error_code == "mqtt.client_id_taken", "it is told why")
        assert logs[-1]["retry_s"] == 60


class ScriptedBroker:
    """Knows MQTT 3.1.1 alone, and answers newer clients as old brokers do."""

    def __init__(self, *, welcome_311: int = 0, answer_5: bytes = b"\x20\x02\x00\x01") -> None:
        self.versions: list[int] = []
        self._welcome_311 = welcome_311
        self._answer_5 = answer_5
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            version = client.recv(4096)[8]
            self.versions.append(version)
            if version == 5:
                client.sendall(self._answer_5)
                client.close()
            else:
                client.sendall(b"\x20\x02\x00" + bytes([self._welcome_311]))
                self._clients.append(client)

    def hang_up(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize("answer_5", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00", b""])
def test_a_broker_without_mqtt_5_is_spoken_to_in_311_and_that_is_remembered(
    answer_5: bytes, start_daemon: StartDaemon
) -> None:
    with ScriptedBroker(answer_5=answer_5) as old:
        daemon = start_daemon(old.port)
        eventually(lambda: daemon.is_connected, "connected")
        assert daemon.client.status().protocol == "3.1.1"
        assert old.versions == [5, 4]
        old.hang_up()
        eventually(lambda: daemon.client.status().reconnects == 1, "reconnected")
        assert old.versions == [5, 4, 4]


def test_a_word_from_a_broker_gone_mad_ends_the_connection_and_no_more(
    start_daemon: StartDaemon,
) -> None:
    with ScriptedBroker(answer_5=b"\x00\xff\xff\xff\xff") as mad:
        daemon = start_daemon(mad.port)
        eventually(lambda: daemon.is_connected, "connected by 3.1.1")
        for client in mad._clients:
            client.sendall(b"\x30\x01\xff\x30\x02\x00\x05")
        eventually(lambda: daemon.client.status().reconnects >= 1, "it connects again")


@pytest.fixture
def amqtt() -> Iterator[DemoBroker]:
    broker = amqtt_broker(free_port())
    yield broker
    broker.stop()


def test_it_works_with_amqtt(amqtt: DemoBroker, start_daemon: StartDaemon, topics: Topics) -> None:
    observer = Observer(amqtt.port, protocol=MQTTProtocolVersion.MQTTv311, topic_filter="voice/#")
    daemon = start_daemon(amqtt.port)
    observer.wait(AVAILABILITY, b"online")
    assert daemon.client.status().protocol == "3.1.1"
    daemon.client.publish(final(topics, "s1", text="héllo"))
    assert json.loads(observer.wait(FINAL).payload)["text"] == "héllo"
    observer.publish("voice/den/cmd/listen", "")
    eventually(lambda: daemon.commands, "the command is heard")
    assert daemon.client.stop(5)
    observer.wait(AVAILABILITY, b"offline")
    observer.close()
