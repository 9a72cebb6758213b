"""The access rules of docs/security.md: enough for a real daemon, and no more than they say.

The daemon has every option that is off by default, and is looked at for these as well.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
import soundfile
from paho.mqtt.enums import CallbackAPIVersion

from rigs.brokers import HOST, Mosquitto, Observer, eventually, password_program
from support.daemon_process import DaemonProcess, daemonctl_here
from support.file_microphone import with_microphone
from support.subscriber import Subscriber

DOCS = Path(__file__).parents[2] / "docs"
USERS = ("voice", "homeassistant", "listener")
NODE = "mac-mini"
ROOT = f"voice/{NODE}"
DISCOVERY = f"homeassistant/device/{NODE}/config"
SPOKEN = "kitchen"
"""Of the bundled command."""
NAMES = {
    "schema": 1,
    "entities": [{"name": "Kitchen Lights", "domain": "light"}],
    "areas": ["Kitchen"],
}


def rules_of_the_page() -> str:
    (rules,) = re.findall(r"```acl\n(.*?)```", (DOCS / "security.md").read_text(), re.DOTALL)
    return str(rules)


def rules_of(user: str, text: str) -> list[str]:
    """Give a user's lines."""
    (lines,) = re.findall(rf"^user {user}\n((?:topic .*\n)+)", text, re.MULTILINE)
    return str(lines).splitlines()


@pytest.fixture(scope="module")
def guarded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    folder = tmp_path_factory.mktemp("rules")
    passwords, rules = folder / "passwords", folder / "acl"
    rules.write_text(rules_of_the_page())
    for number, user in enumerate(USERS):
        options = ["-b"] if number else ["-c", "-b"]
        subprocess.run([password_program(), *options, passwords, user, user], check=True)
    running = Mosquitto(
        folder,
        (
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {rules}",
            "message_size_limit 65536",
        ),
    ).start()
    yield running
    running.kill()


def login(user: str) -> tuple[str, str]:
    return user, user


def test_the_daemons_rules_are_those_of_the_page_on_mqtt() -> None:
    mqtt = (DOCS / "mqtt.md").read_text()
    assert rules_of("voice", rules_of_the_page()) == rules_of("voice", mqtt)


def login_of_a_daemon(home: Path, port: int) -> dict[str, str]:
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text("voice\n")
    return {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(port),
        "VOICE_DAEMON_MQTT__USERNAME": "voice",
        "VOICE_DAEMON_MQTT__PASSWORD_FILE": str(secret),
    }


@dataclass(frozen=True)
class Life:
    """A daemon's, with every option that its owner has to ask for."""

    hub: Subscriber
    listener: Subscriber
    home: Path
    status: str
    core_limits: str
    code: int

    @property
    def log(self) -> str:
        return (self.home / "logs" / "voice-daemon.jsonl").read_text()

    def final(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.hub.wait(f"{ROOT}/transcript/final").payload)
        return found


@pytest.fixture(scope="module")
def life(
    guarded_broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory, demo_clip: Path
) -> Iterator[Life]:
    """It knows the home's names, keeps all that is said, and settles with others who answers."""
    folder = tmp_path_factory.mktemp("life")
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as short:
        home = Path(short)
        (home / "home.json").write_text(json.dumps(NAMES))
        variables = {
            **login_of_a_daemon(home, guarded_broker.port),
            "VOICE_DAEMON_ARBITRATION__ENABLED": "true",
            "VOICE_DAEMON_VOCABULARY__FILE": str(home / "home.json"),
            "VOICE_DAEMON_PRIVACY__SAVE_AUDIO": "true",
            "VOICE_DAEMON_PRIVACY__LOG_TRANSCRIPTS": "true",
            "VOICE_DAEMON_AUDIO__SILENCE_ALARM_S": "3600",
        }
        samples, rate_hz = soundfile.read(demo_clip, dtype="int16")
        soundfile.write(
            folder / "room.wav", np.pad(samples, (0, 120 * rate_hz), constant_values=3), rate_hz
        )
        hub = Subscriber(guarded_broker.port, login=login("homeassistant"))
        listener = Subscriber(guarded_broker.port, login=login("listener"))
        microphone = with_microphone(folder / "room.wav")
        with DaemonProcess((), home, variables, microphone) as daemon:
            hub.wait_for(lambda message: b'"ended"' in message.payload)
            log = home / "logs" / "voice-daemon.jsonl"
            eventually(lambda: "audio.saved" in log.read_text(), "the sound is written")
            status = daemonctl_here("status", home=home).stdout
            limits = Path(f"/proc/{daemon.pid}/limits")
            core_limits = limits.read_text() if limits.exists() else ""
            daemon.signal(signal.SIGTERM)
            code = daemon.wait()
        hub.wait(f"{ROOT}/availability", b"offline")
        yield Life(hub, listener, home, status, core_limits, code)
        hub.close()
        listener.close()


def test_a_daemon_with_these_rules_lacks_nothing_and_a_listener_hears_the_words(life: Life) -> None:
    assert life.code == 0
    assert "mqtt.forbidden" not in life.log
    topics = {message.topic for message in life.hub.seen}
    leaves = ("info", "state", "health", "wake", "session", "mute/state", "transcript/final")
    assert topics >= {f"{ROOT}/{leaf}" for leaf in leaves} | {DISCOVERY}
    assert any(topic.startswith("voice/arbitration/") for topic in topics)
    assert not [message for message in life.hub.seen if message.topic == f"{ROOT}/error"]
    final = json.loads(life.listener.wait(f"{ROOT}/transcript/final").payload)
    assert SPOKEN in final["text"].lower()
    heard = {message.topic.removeprefix(f"{ROOT}/") for message in life.listener.seen}
    assert heard == {"availability", "state", "transcript/partial", "transcript/final"}


def test_a_file_of_names_is_used_from_the_first_command_on(life: Life) -> None:
    assert life.final()["in_vocabulary"] is True
    topic = f"{ROOT}/vocabulary/state"
    states = [json.loads(m.payload) for m in life.hub.seen if m.topic == topic and m.payload]
    assert [s["source"] for s in states if s["state"] == "ready"][:1] == ["file"]


def test_what_was_said_is_logged_when_the_owner_wants_it(life: Life) -> None:
    assert SPOKEN in life.log.lower()


def test_sound_is_kept_when_the_owner_wants_it_and_status_says_so(life: Life) -> None:
    (first,) = (life.home / "audio").glob("*.wav")
    assert first.stat().st_mode & 0o777 == 0o600
    info = soundfile.info(first)
    assert (info.samplerate, info.channels) == (16_000, 1)
    assert 2 < info.duration < 30
    assert "the sound of every session is kept on disk" in life.status
    assert "healthy" in life.status


def test_no_core_file_is_written_when_it_crashes(life: Life) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells the limits of another process")
    limits = life.core_limits.splitlines()
    assert next(line.split() for line in limits if "core file" in line)[4:6] == ["0", "0"]


def test_doctor_finds_nothing_wrong_with_these_rules(
    guarded_broker: Mosquitto, voice_home: Path
) -> None:
    variables = login_of_a_daemon(voice_home, guarded_broker.port)
    # Without its model: that is read elsewhere, and takes seconds.
    done = daemonctl_here(
        *("doctor", "--json"), home=voice_home, VOICE_DAEMON_ASR__MODEL="small.en", **variables
    )
    found = {check["check"]: check["verdict"] for check in json.loads(done.stdout)["checks"]}
    assert (found["broker login"], found["broker access"]) == ("ok", "ok"), done.stdout


FORBIDDEN = {
    "listener": (
        f"{ROOT}/cmd/listen",
        f"{ROOT}/mute/set",
        f"{ROOT}/transcript/final",
        "voice/arbitration/hey_jarvis",
        DISCOVERY,
        "homeassistant/status",
    ),
    "homeassistant": (f"{ROOT}/transcript/final", f"{ROOT}/availability", "voice/arbitration/x"),
    "voice": ("voice/kitchen/transcript/final", "homeassistant/device/kitchen/config"),
}
ALLOWED = {
    "homeassistant": (f"{ROOT}/cmd/listen", f"{ROOT}/mute/set"),
    "voice": (f"{ROOT}/transcript/final", DISCOVERY, "voice/arbitration/x"),
}


def test_nobody_speaks_or_commands_who_may_not(guarded_broker: Mosquitto) -> None:
    ears = [Observer(guarded_broker.port, login=login(user)) for user in USERS]
    for user, mouth in zip(USERS, ears, strict=True):
        for topic in FORBIDDEN.get(user, ()):
            mouth.publish(topic, f"forbidden to {user}")
        for topic in ALLOWED.get(user, ()):
            mouth.publish(topic, f"allowed to {user}")
    wanted = {
        (topic, f"allowed to {user}".encode()) for user, own in ALLOWED.items() for topic in own
    }

    def heard() -> set[tuple[str, bytes]]:
        return {(message.topic, message.payload) for ear in ears for message in ear.seen}

    # The broker serves them in order: what was forbidden would have come before the last of these.
    eventually(lambda: wanted <= heard(), f"everything that is allowed: {heard()}")
    assert not [payload for _, payload in heard() if payload.startswith(b"forbidden")]
    for ear in ears:
        ear.close()


def test_who_has_no_name_is_not_let_in(guarded_broker: Mosquitto) -> None:
    answers: list[bool] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *arguments: answers.append(arguments[3].is_failure)
    client.connect(HOST, guarded_broker.port)
    client.loop_start()
    eventually(lambda: answers, "the broker answers")
    client.disconnect()
    client.loop_stop()
    assert answers[0]
