"""What the client says and does when it is refused, finds nobody, or runs out of something."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rigs.brokers import Mosquitto, Observer, eventually, free_port, password_program
from support.mqtt_clients import AVAILABILITY, FINAL, MakeBroker, StartDaemon, final, settings_for
from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.topics import Topics


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


def test_a_host_that_does_not_exist_is_named(start_daemon: StartDaemon) -> None:
    host = "no.such.host.invalid"
    daemon = start_daemon(1883, host=host)
    eventually(lambda: daemon.error_code == "mqtt.unknown_host", "it says so")
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
    with capture_logs() as logs:
        start_daemon(free_port(), reconnect_min_s=0.1, reconnect_max_s=1)
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
