"""The home's names by MQTT: the real program, the real models, a real broker."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from rigs.brokers import Seen, eventually
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber

NODE = "e2e"
SECRET = "Grandmother Ottilie"
HOME = {
    "schema": 1,
    "entities": [
        {"name": "Kitchen Lights", "domain": "light"},
        {"name": SECRET, "domain": "light"},
    ],
    "areas": ["Kitchen"],
}


def environment(port: int, **more: str) -> dict[str, str]:
    return {"VOICE_DAEMON_NODE_ID": NODE, "VOICE_DAEMON_MQTT__PORT": str(port), **more}


@pytest.fixture
def quiet_minutes(tmp_path: Path) -> Path:
    """A room in which nobody speaks while the test does its work."""
    noise = np.random.default_rng(1).normal(0, 20, 16_000 * 300).astype(np.int16)
    soundfile.write(tmp_path / "room.wav", noise, 16_000)
    return tmp_path / "room.wav"


def state_is(state: str) -> Any:
    def wanted(message: Seen) -> bool:
        if message.topic != f"voice/{NODE}/vocabulary/state" or not message.payload:
            return False
        return bool(json.loads(message.payload)["state"] == state)

    return wanted


def test_names_that_are_published_are_used_kept_and_taken_back(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, quiet_minutes: Path
) -> None:
    stored = voice_home / "vocabulary.json"
    shared, own = "voice/vocabulary", f"voice/{NODE}/vocabulary"
    arguments, variables = ("--input", quiet_minutes), environment(mosquitto_port)
    with DaemonProcess(arguments, voice_home, variables):
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"voice/{NODE}/state", b"idle"))
        subscriber.publish(shared, json.dumps(HOME).encode(), retain=True)
        ready = json.loads(subscriber.wait_for(state_is("ready")).payload)
        assert (ready["names"], ready["source"], ready["language"]) == (3, "mqtt", "en")
        eventually(stored.exists, "the names are on disk")
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600

        subscriber.publish(own, b'{"schema": 1, "entities": "x"}', retain=True)
        topic = f"voice/{NODE}/error"
        error = json.loads(subscriber.wait_for(lambda m: m.topic == topic).payload)
        assert error["code"] == "vocabulary.bad_document"
        assert error["remedy"]

        for topic in (own, shared):
            subscriber.publish(topic, b"", retain=True)
        subscriber.wait_for(state_is("none"))
        eventually(lambda: not stored.exists(), "the names are forgotten")
    told = [m.payload for m in subscriber.seen if m.topic.startswith(f"voice/{NODE}/")]
    assert not any(b"Ottilie" in payload for payload in told if b'"entities"' not in payload)
    assert "Ottilie" not in (voice_home / "logs" / "voice-daemon.jsonl").read_text()
