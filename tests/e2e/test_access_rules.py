"""The access rules of docs/security.md: enough for a real daemon, and no more than they say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from rigs.brokers import HOST, Mosquitto, Observer, eventually, password_program
from support.daemon_process import run_daemonctl
from support.subscriber import Subscriber

DOCS = Path(__file__).parents[2] / "docs"
USERS = ("voice", "homeassistant", "listener")
ROOT = "voice/mac-mini"
DISCOVERY = "homeassistant/device/mac-mini/config"


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


def test_a_daemon_with_these_rules_lacks_nothing_and_a_listener_hears_the_words(
    guarded_broker: Mosquitto, voice_home: Path, demo_clip: Path
) -> None:
    secret = voice_home / "password"
    secret.touch(mode=0o600)
    secret.write_text("voice\n")
    hub = Subscriber(guarded_broker.port, login=login("homeassistant"))
    listener = Subscriber(guarded_broker.port, login=login("listener"))
    done = run_daemonctl(
        *("run", "--input", demo_clip, "--fast"),
        home=voice_home,
        VOICE_DAEMON_NODE_ID="mac-mini",
        VOICE_DAEMON_MQTT__PORT=str(guarded_broker.port),
        VOICE_DAEMON_MQTT__USERNAME="voice",
        VOICE_DAEMON_MQTT__PASSWORD_FILE=str(secret),
        VOICE_DAEMON_ARBITRATION__ENABLED="true",
    )
    assert (done.returncode, done.stderr) == (0, "")
    log = (voice_home / "logs" / "voice-daemon.jsonl").read_text()
    assert "mqtt.forbidden" not in log
    hub.wait(f"{ROOT}/availability", b"offline")
    topics = {message.topic for message in hub.seen}
    leaves = ("info", "state", "health", "wake", "session", "mute/state", "transcript/final")
    assert topics >= {f"{ROOT}/{leaf}" for leaf in leaves} | {DISCOVERY}
    assert any(topic.startswith("voice/arbitration/") for topic in topics)
    assert not [message for message in hub.seen if message.topic == f"{ROOT}/error"]
    final = json.loads(listener.wait(f"{ROOT}/transcript/final").payload)
    assert "kitchen" in final["text"].lower()
    heard = {message.topic.removeprefix(f"{ROOT}/") for message in listener.seen}
    assert heard == {"availability", "state", "transcript/partial", "transcript/final"}
    hub.close()
    listener.close()


def test_doctor_finds_nothing_wrong_with_these_rules(
    guarded_broker: Mosquitto, voice_home: Path
) -> None:
    secret = voice_home / "password"
    secret.touch(mode=0o600)
    secret.write_text("voice\n")
    done = run_daemonctl(
        *("doctor", "--json"),
        home=voice_home,
        VOICE_DAEMON_NODE_ID="mac-mini",
        VOICE_DAEMON_MQTT__PORT=str(guarded_broker.port),
        VOICE_DAEMON_MQTT__USERNAME="voice",
        VOICE_DAEMON_MQTT__PASSWORD_FILE=str(secret),
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
