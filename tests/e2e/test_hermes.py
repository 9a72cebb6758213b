"""Rhasspy's protocol from outside: the real program, the real models, a real broker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Seen
from support.daemon_process import DaemonProcess, run_daemonctl
from support.subscriber import Subscriber

NODE = "hermes-e2e"
COMMAND = ["turn", "on", "the", "kitchen", "lights"]
DETECTED = "hermes/hotword/hey_jarvis/detected"
START = "hermes/asr/startListening"


def environment(port: int) -> dict[str, str]:
    return {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(port),
        "VOICE_DAEMON_MQTT__FORMAT": "hermes",
    }


def ours(subscriber: Subscriber) -> list[tuple[str, dict[str, Any]]]:
    """Give what was said live about this site in Hermes, oldest first."""
    said = [
        (message.topic, json.loads(message.payload))
        for message in subscriber.seen
        if message.topic.startswith("hermes/") and not message.retain
    ]
    return [(topic, body) for topic, body in said if body["siteId"] == NODE]


def is_offline(message: Seen) -> bool:
    return (message.topic, message.payload) == (f"voice/{NODE}/availability", b"offline")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@pytest.fixture
def leftover(mosquitto_port: int, subscriber: Subscriber) -> Any:  # noqa: ANN401 - a generator
    """A retained request to listen, from the past; taken away afterwards."""
    del mosquitto_port
    stale = json.dumps({"siteId": NODE, "sessionId": "stale"})
    subscriber.publish(START, stale, retain=True)
    yield
    subscriber.publish(START, b"", retain=True)


@pytest.mark.usefixtures("leftover")
def test_a_spoken_command_becomes_hermes_messages_and_no_native_ones(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> None:
    done = run_daemonctl(
        "run", "--input", demo_clip, "--fast", home=voice_home, **environment(mosquitto_port)
    )
    assert (done.returncode, done.stderr) == (0, "")
    subscriber.wait_for(is_offline)

    said = [(topic, body) for topic, body in ours(subscriber) if body["sessionId"] != "stale"]
    assert [topic for topic, _ in said] == [
        DETECTED,
        "hermes/dialogueManager/sessionStarted",
        START,
        "hermes/asr/textCaptured",
        "hermes/asr/stopListening",
        "hermes/dialogueManager/sessionEnded",
    ]
    assert len({body["sessionId"] for _, body in said}) == 1
    captured = said[3][1]
    assert words(captured["text"]) == COMMAND
    assert captured["wakewordId"] == "hey_jarvis"
    assert [token["value"] for token in captured["asrTokens"][0]] == captured["text"].split()
    assert said[-1][1]["termination"] == {"reason": "nominal"}

    native = {m.topic.removeprefix(f"voice/{NODE}/") for m in subscriber.seen if NODE in m.topic}
    assert {"availability", "info", "state", "mute/state"} <= native
    assert not native & {"wake", "session", "transcript/partial", "transcript/final"}


def test_a_dialogue_manager_gets_the_text_under_its_own_session(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> None:
    arguments: tuple[str | Path, ...] = ("--input", demo_clip)
    with DaemonProcess(arguments, voice_home, environment(mosquitto_port)) as daemon:
        subscriber.wait_for(lambda message: message.topic == DETECTED)
        subscriber.publish(
            "hermes/hotword/toggleOff", json.dumps({"siteId": NODE, "reason": "dialogueSession"})
        )
        subscriber.publish(START, json.dumps({"siteId": NODE, "sessionId": "dialogue-1"}))
        assert daemon.wait() == 0
    subscriber.wait_for(is_offline)
    captured = [body for topic, body in ours(subscriber) if topic == "hermes/asr/textCaptured"]
    assert [(body["sessionId"], words(body["text"])) for body in captured] == [
        ("dialogue-1", COMMAND)
    ]
    assert "hermes/dialogueManager/sessionEnded" not in [topic for topic, _ in ours(subscriber)]
