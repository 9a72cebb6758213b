"""The client against brokers that are slow, stubborn, old, or not brokers at all."""

from __future__ import annotations

import json
import logging
import resource
import signal
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from structlog.testing import capture_logs

from brokers import HOST, Mosquitto, Observer, eventually, password_program
from mqtt_clients import settings_for
from voice_daemon.demo_broker import AmqttBroker
from voice_daemon.events import EndReason, ErrorRaised, Timing, TranscriptFinal
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.dialler import Patience
from voice_daemon.mqtt.messages import MqttMessage, Topics, for_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mqtt_clients import Daemon

    MakeBroker = Callable[..., Mosquitto]
    StartDaemon = Callable[..., Daemon]

FINAL = "voice/den/transcript/final"
AVAILABILITY = "voice/den/availability"
HASTY = Patience(connect_s=1, probe_s=0.3, answer_s=0.3, acknowledge_s=0.5, stall_s=0.2)


def final(topics: Topics, session_id: str, *, text: str = "ok") -> MqttMessage:
    event = TranscriptFinal(
        session_id,
        1,
        text,
        revised=False,
        language="en",
        end_reason=EndReason.SILENCE,
        duration_ms=1,
        wake_word=None,
        confidence=1,
        no_speech_prob=0,
        timing=Timing(None, None, 1),
    )
    return for_event(event, topics=topics, at=datetime.now(UTC))[0]


def partial(number: int) -> MqttMessage:
    return MqttMessage("voice/den/transcript/partial", b"x" * 4096 + b"%d" % number, qos=0)


def took_s(action: Callable[[], object]) -> float:
    began_s = time.monotonic()
    action()
    return time.monotonic() - began_s


def test_publish_never_waits_for_a_broker_that_stands_still(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    broker.signal(signal.SIGSTOP)
    done = threading.Event()

    def publish_far_more_than_sockets_hold() -> None:
        for number in range(3000):
            daemon.client.publish(partial(number))
        daemon.client.publish(final(topics, "s1"))
        done.set()

    threading.Thread(target=publish_far_more_than_sockets_hold, daemon=True).start()
    assert done.wait(10)
    assert daemon.client.status().queued <= 101
    broker.signal(signal.SIGCONT)


def test_a_broker_that_stands_still_is_left_and_what_it_owes_is_sent_again(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port, patience=HASTY)
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "connected")
    broker.signal(signal.SIGSTOP)
    daemon.client.publish(final(topics, "s1"))
    eventually(lambda: daemon.error_code == "mqtt.no_acknowledgement", "the stall is noticed")
    daemon.client.publish(final(topics, "s2"))
    eventually(lambda: daemon.error_code == "mqtt.timeout", "it does not answer either")
    broker.signal(signal.SIGCONT)
    eventually(lambda: len(observer.on(FINAL)) >= 2, "both arrive")
    eventually(lambda: daemon.client.status().queued == 0, "both are confirmed")
    seen = [json.loads(payload)["session_id"] for payload in observer.on(FINAL)]
    assert list(dict.fromkeys(seen)) == ["s1", "s2"]
    assert daemon.losses == []
    observer.close()


def test_a_stop_gives_up_on_time_and_counts_what_was_lost(
    broker: Mosquitto, start_daemon: StartDaemon, topics: Topics
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "connected")
    broker.signal(signal.SIGSTOP)
    daemon.client.publish(final(topics, "s1"))
    delivered: list[bool] = []
    assert took_s(lambda: delivered.append(daemon.client.stop(0.5))) < 5
    broker.signal(signal.SIGCONT)
    assert delivered == [False]
    assert [loss.why for loss in daemon.losses] == ["stopped"]
    assert daemon.client.status().finals_lost == 1


def test_the_will_speaks_for_a_stop_that_could_not(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port)
    observer.wait(AVAILABILITY, b"online")
    broker.signal(signal.SIGSTOP)
    assert not daemon.client.stop(0.3)
    broker.signal(signal.SIGCONT)
    observer.wait(AVAILABILITY, b"offline")
    observer.close()


def test_a_stop_while_the_broker_restarts_still_delivers(
    make_broker: MakeBroker, start_daemon: StartDaemon, topics: Topics
) -> None:
    broker = make_broker()
    daemon = start_daemon(broker.port, reconnect_min_s=60, reconnect_max_s=60)
    daemon.client.publish(final(topics, "s1"))
    eventually(lambda: daemon.error_code == "mqtt.connection_refused", "the broker is away")
    outcome: list[bool] = []
    stopping = threading.Thread(target=lambda: outcome.append(daemon.client.stop(10)))
    stopping.start()
    broker.start()
    stopping.join(15)
    assert outcome == [True]
    assert daemon.losses == []
    assert "Received PUBLISH from voice-daemon-den" in broker.log_text()
    later = Observer(broker.port)
    assert later.wait(AVAILABILITY).payload == b"offline"
    later.close()


def test_a_stop_with_nothing_to_deliver_does_not_wait(start_daemon: StartDaemon) -> None:
    with Deaf() as deaf:
        daemon = start_daemon(deaf.port)
        eventually(lambda: deaf.n_clients, "it connects")
        assert took_s(lambda: daemon.client.stop(30)) < 15
        assert daemon.losses == []


def test_a_resolver_that_hangs_blocks_neither_publish_nor_stop(
    monkeypatch: pytest.MonkeyPatch, start_daemon: StartDaemon, topics: Topics
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        hanging.set()
        release.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    daemon = start_daemon(1883, host="broker.example")
    assert hanging.wait(10)
    daemon.client.publish(final(topics, "s1"))
    assert took_s(lambda: daemon.client.stop(0.3)) < 5
    assert [loss.why for loss in daemon.losses] == ["stopped"]
    release.set()
    eventually(lambda: not mqtt_threads(), "the thread that was left behind ends by itself")


def test_a_client_without_file_descriptors_says_so_and_connects_once_it_has_some(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(broker.port)
    eventually(lambda: daemon.is_connected, "connected")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logs:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            broker.kill()
            eventually(lambda: daemon.error_code == "mqtt.connect_failed", "it says so")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    broker.start()
    eventually(lambda: daemon.is_connected, "connected again")
    assert "mqtt.crashed" not in {entry["event"] for entry in logs}


def mqtt_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mqtt"]


class Deaf:
    """Accepts connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def n_clients(self) -> int:
        return len(self._clients)

    def _accept(self) -> None:
        while True:
            try:
                self._clients.append(self._listener.accept()[0])
            except OSError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in (self._listener, *self._clients):
            sock.close()


def test_what_is_no_broker_is_given_up_in_time(start_daemon: StartDaemon) -> None:
    with Deaf() as deaf:
        daemon = start_daemon(deaf.port, patience=HASTY)
        eventually(lambda: daemon.error_code == "mqtt.timeout", "it says so")
        eventually(lambda: deaf.n_clients >= 2, "it tries again")


@pytest.mark.parametrize(
    ("host", "code"),
    [("no.such.host.invalid", "mqtt.unknown_host"), ("a..b", "mqtt.unknown_host")],
)
def test_a_host_that_does_not_exist_is_named(
    host: str, code: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(1883, host=host)
    eventually(lambda: daemon.error_code == code, "it says so")
    error = daemon.client.status().last_error
    assert error is not None
    assert f"mqtt://{host}:1883" in error.message


def test_a_wrong_password_is_reported_without_the_password(
    make_broker: MakeBroker, tmp_path: Path, secret_file: Path, start_daemon: StartDaemon
) -> None:
    broker = with_login(make_broker, tmp_path)
    secret_file.write_text("battery staple\n")
    with capture_logs() as logs:
        daemon = start_daemon(broker.port, username="daemon", password_file=secret_file)
        eventually(lambda: daemon.error_code == "mqtt.not_authorised", "it is refused")
        faults = [entry for entry in logs if entry["event"] == "mqtt.fault"]
        assert faults[0]["retry_s"] == 1  # the longest wait at once
        secret_file.write_text("correct horse\n")
        eventually(lambda: daemon.is_connected, "the corrected file is read")
    assert "battery" not in repr(logs)
    assert "correct" not in repr(logs)
    assert daemon.client.status().last_error is None


def test_a_wrong_password_is_known_by_mqtt_311_too(
    secret_file: Path, start_daemon: StartDaemon
) -> None:
    with ScriptedBroker(welcome_311=5) as old:
        daemon = start_daemon(old.port, username="daemon", password_file=secret_file)
        eventually(lambda: daemon.error_code == "mqtt.not_authorised", "it is refused")


def with_login(make_broker: MakeBroker, folder: Path) -> Mosquitto:
    """Start a broker that knows one user."""
    passwords = folder / "passwords"
    subprocess.run(
        [password_program(), "-c", "-b", str(passwords), "daemon", "correct horse"], check=True
    )
    return make_broker("allow_anonymous false", f"password_file {passwords}").start()


def test_what_access_rules_forbid_is_reported_and_not_repeated(
    make_broker: MakeBroker, tmp_path: Path, start_daemon: StartDaemon, topics: Topics
) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic deny {FINAL}\ntopic readwrite #\n")
    broker = make_broker("allow_anonymous true", f"acl_file {rules}").start()
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port)
    daemon.client.publish(final(topics, "s1"))
    report = json.loads(observer.wait("voice/den/error").payload)
    assert report["code"] == "mqtt.final_lost"
    assert daemon.error_code == "mqtt.forbidden"
    assert [loss.why for loss in daemon.losses] == ["refused"]
    assert daemon.is_connected
    observer.close()


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
def amqtt() -> Iterator[AmqttBroker]:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    broker = AmqttBroker(port)
    yield broker
    broker.stop()


def test_it_works_with_amqtt(amqtt: AmqttBroker, start_daemon: StartDaemon, topics: Topics) -> None:
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


def test_a_fault_in_a_callback_is_shown_and_the_client_lives_on(
    broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    def break_once(_: object) -> None:
        if not broken:
            broken.append(True)
            raise RuntimeError("a bug")

    broken: list[bool] = []
    observer = Observer(broker.port)
    daemon = start_daemon(broker.port, on_command=break_once)
    observer.wait(AVAILABILITY, b"online")
    observer.publish("voice/den/cmd/listen", "")
    eventually(lambda: daemon.client.status().reconnects == 1, "it connects again")
    observer.close()


def test_an_error_waits_for_the_broker(
    make_broker: MakeBroker, start_daemon: StartDaemon, topics: Topics
) -> None:
    broker = make_broker()
    daemon = start_daemon(broker.port)
    error = ErrorRaised("mic.lost", "gone", "plug it in")
    for message in for_event(error, topics=topics, at=datetime.now(UTC)):
        daemon.client.publish(message)
    broker.start()
    eventually(lambda: daemon.is_connected and daemon.client.status().queued == 0, "delivered")
    assert daemon.losses == []
    assert "'voice/den/error'" in broker.log_text()


def test_a_fault_is_logged_once_and_not_at_every_attempt(start_daemon: StartDaemon) -> None:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with capture_logs() as logs:
        start_daemon(port, reconnect_min_s=0.1, reconnect_max_s=1)
        eventually(
            lambda: sum(entry["event"] == "mqtt.fault" for entry in logs) >= 3, "three attempts"
        )
    levels = [entry["log_level"] for entry in logs if entry["event"] == "mqtt.fault"]
    assert levels[0] == "warning"
    assert set(levels[1:]) == {"debug"}


def test_paho_does_not_log_by_itself(
    broker: Mosquitto, start_daemon: StartDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        daemon = start_daemon(broker.port)
        eventually(lambda: daemon.is_connected, "connected")
        daemon.client.stop(5)
    assert caplog.records == []


def test_a_client_that_was_never_started_stops_and_loses_loudly(
    topics: Topics,
) -> None:
    losses: list[object] = []
    client = MqttClient(
        settings_for(1),
        client_id="x",
        topics=topics,
        on_command=losses.append,
        announce=tuple,
        on_lost=losses.append,
    )
    client.publish(final(topics, "s1"))
    assert not client.stop(0.1)
    assert len(losses) == 1
    client.publish(final(topics, "s2"))
    assert client.status().queued == 0
