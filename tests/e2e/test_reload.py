"""SIGHUP: the real program with its models takes a changed configuration over while it listens."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rigs.brokers import eventually
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16

NODE = "e2e-reload"
ROOT = f"voice/{NODE}"
SAID = "Turn on the kitchen lights."
PAUSE_S = 2


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, demo_clip: Path) -> Path:
    """Somebody says the wake word and a command every few seconds."""
    noise = np.random.default_rng(1).normal(0, 10, 16_000 * PAUSE_S).astype(np.int16)
    clip = to_int16(load_audio(demo_clip))
    file = tmp_path_factory.mktemp("room") / "room.wav"
    soundfile.write(file, np.concatenate([noise, clip] * 20), 16_000)
    return file


class ReloadRig:
    """The daemon, its configuration, and what it says."""

    def __init__(self, daemon: DaemonProcess, home: Path, subscriber: Subscriber) -> None:
        self.daemon = daemon
        self.subscriber = subscriber
        self._home = home

    def configure(self, text: str) -> None:
        (self._home / "config.toml").write_text(f'node_id = "{NODE}"\n{text}')

    def reload(self, text: str) -> None:
        self.configure(text)
        self.daemon.signal(signal.SIGHUP)

    def logged(self, event: str) -> list[dict[str, Any]]:
        file = self._home / "logs" / "voice-daemon.jsonl"
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
        return [line for line in lines if line["event"] == event]

    def await_logged(self, event: str, *, times: int = 1) -> dict[str, Any]:
        eventually(lambda: len(self.logged(event)) >= times, f"{event} is logged")
        return self.logged(event)[times - 1]

    def await_(self, leaf: str, payload: bytes) -> None:
        self.subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/{leaf}", payload))

    def finals(self) -> list[str]:
        return [json.loads(payload)["text"] for payload in self.said("transcript/final")]

    def said(self, leaf: str) -> list[bytes]:
        return list(self.subscriber.on(f"{ROOT}/{leaf}"))

    def await_finals(self, n_finals: int) -> None:
        self.subscriber.wait_for(lambda _: len(self.finals()) >= n_finals)


@pytest.fixture(scope="module")
def rig(
    mosquitto_port: int, tmp_path_factory: pytest.TempPathFactory, room: Path
) -> Iterator[ReloadRig]:
    home = tmp_path_factory.mktemp("home")
    subscriber = Subscriber(mosquitto_port, hears_retained=False)
    variables = {"VOICE_DAEMON_MQTT__PORT": str(mosquitto_port)}
    (home / "config.toml").write_text(f'node_id = "{NODE}"\n')
    with DaemonProcess(("--input", room), home, variables) as daemon:
        yield ReloadRig(daemon, home, subscriber)
    subscriber.close()


def test_what_can_be_changed_is_and_the_rest_is_named(rig: ReloadRig) -> None:
    rig.await_("state", b"idle")
    rig.reload('[wake]\nthreshold = 0.61\n[log]\nlevel = "debug"\n[asr]\nmodel = "base.en"\n')
    rig.await_("wake_threshold/state", b"0.61")
    told = rig.await_logged("config.reloaded")
    assert told["applied"] == ["wake.threshold", "log.level"]
    assert told["restart"] == ["asr.model"]
    rig.await_finals(1)
    assert rig.await_logged("transcript.partial")["level"] == "debug"
    assert set(rig.finals()) == {SAID}


def test_a_wrong_configuration_is_refused_whole(rig: ReloadRig) -> None:
    rig.await_("state", b"idle")
    rig.reload("[wake]\nthreshold = 7\n[session]\nsilence_ms = 900\n")
    error = json.loads(rig.subscriber.wait(f"{ROOT}/error").payload)
    assert error["code"] == "config.invalid"
    assert "threshold = 7" in error["message"]
    rig.reload("[session]\nsilence_ms = 900\n")
    rig.await_("silence_ms/state", b"900")
    assert rig.said("silence_ms/state") == [b"700", b"900"]
    assert rig.daemon.is_running
