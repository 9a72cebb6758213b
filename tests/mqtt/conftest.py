"""A real broker, one who listens to it, and clients under test that are always stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Gate, Mosquitto, Observer
from support.mqtt_clients import TOPICS, Daemon, settings_for
from voice_daemon.mqtt.topics import Topics


@pytest.fixture
def topics() -> Topics:
    return TOPICS


@pytest.fixture
def observer(broker: Mosquitto) -> Iterator[Observer]:
    observer = Observer(broker.port)
    yield observer
    observer.close()


@pytest.fixture
def gate(broker: Mosquitto) -> Iterator[Gate]:
    gate = Gate(broker.port)
    yield gate
    gate.shut()


@pytest.fixture
def start_daemon() -> Iterator[Callable[..., Daemon]]:
    """Give a function that starts a daemon's client; all are stopped at the end."""
    started: list[Daemon] = []

    def start(port: int, **changes: Any) -> Daemon:
        of_daemon = {
            name: changes.pop(name)
            for name in ("announcements", "on_command", "timeouts", "client_id")
            if name in changes
        }
        daemon = Daemon(settings_for(port, **changes), **of_daemon)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        daemon.client.stop(0.5)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path
