"""Settings changed over MQTT and Home Assistant's life cycle: the real program and its models."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rigs.brokers import eventually
from support.daemon_process import DaemonProcess, run_daemonctl
from support.subscriber import Subscriber

NODE = "e2e-live"
ROOT = f"voice/{NODE}"
CONFIG = f"homeassistant/device/{NODE}/config"


def environment(port: int) -> dict[str, str]:
    return {"VOICE_DAEMON_NODE_ID": NODE, "VOICE_DAEMON_MQTT__PORT": str(port)}


def remembered(file: Path) -> set[str]:
    return set(json.loads(file.read_text())["settings"]) if file.exists() else set()


def said_since(n_before: int, subscriber: Subscriber) -> dict[str, str]:
    """The last text on each topic after the first `n_before` messages."""
    return {m.topic: m.payload.decode() for m in subscriber.seen[n_before:]}


@pytest.fixture
def quiet_minutes(tmp_path: Path) -> Path:
    """A room in which nobody speaks while the test does its work."""
    noise = np.random.default_rng(1).normal(0, 20, 16_000 * 120).astype(np.int16)
    soundfile.write(tmp_path / "room.wav", noise, 16_000)
    return tmp_path / "room.wav"


@pytest.mark.slow  # tests/test_app_live.py has it without processes and models
def test_changes_outlive_a_daemon_that_is_killed_and_the_broker_says_that_it_is_gone(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, quiet_minutes: Path
) -> None:
    wanted = {"wake_word": "alexa", "wake_threshold": "0.65", "silence_ms": "900", "mute": "ON"}
    arguments, variables = ("--input", quiet_minutes), environment(mosquitto_port)
    with DaemonProcess(arguments, voice_home, variables) as daemon:
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/state", b"idle"))
        for name, value in wanted.items():
            subscriber.publish(f"{ROOT}/{name}/set", value)
        file = voice_home / "state.json"
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/state", b"muted"))
        eventually(lambda: remembered(file) == set(wanted), "the changes are on disk")
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = run_daemonctl("config", "show", home=voice_home, **variables).stdout
    assert "thresholds = { alexa = 0.65 }" in shown
    assert "daemonctl config reset" in shown

    subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/availability", b"offline"))
    n_before = len(subscriber.seen)
    with DaemonProcess(arguments, voice_home, variables) as daemon:
        announced = {f"{ROOT}/health", CONFIG}
        subscriber.wait_for(
            lambda _: (
                announced <= said_since(n_before, subscriber).keys()
                and said_since(n_before, subscriber).get(f"{ROOT}/state") == "muted"
            )
        )
        said = said_since(n_before, subscriber)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    assert {name: said[f"{ROOT}/{name}/state"] for name in wanted} == wanted
