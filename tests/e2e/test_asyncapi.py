"""What a real daemon publishes is what docs/asyncapi.yaml says, and it knows what is in there."""

from __future__ import annotations

from pathlib import Path

import yaml

from rigs.brokers import Seen
from support.daemon_process import DaemonProcess
from support.subscriber import Subscriber
from tools.asyncapi.catalogue import SETTINGS, VERBS
from tools.asyncapi.reader import Reader

NODE = "asyncapi-e2e"
ROOT = f"voice/{NODE}"
COMMITTED = Path(__file__).parent.parent.parent / "docs" / "asyncapi.yaml"


def known(subscriber: Subscriber, reader: Reader, code: bytes) -> set[str]:
    """Give the names that the daemon lists in the remedy of an error."""
    error = subscriber.wait_for(lambda m: m.topic == f"{ROOT}/error" and code in m.payload)
    assert reader.message(error.topic, error.payload) == "error"
    _, _, names = error.payload.decode().partition('"known: ')
    return set(names.split('"')[0].split(", "))


def test_what_a_daemon_publishes_is_in_the_document(
    mosquitto_port: int, subscriber: Subscriber, voice_home: Path, demo_clip: Path
) -> None:
    document = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    reader = Reader(document, {"base": "voice", "node": NODE, "prefix": "homeassistant"})
    environment = {
        "VOICE_DAEMON_NODE_ID": NODE,
        "VOICE_DAEMON_MQTT__PORT": str(mosquitto_port),
    }
    with DaemonProcess(("--input", demo_clip), voice_home, environment) as daemon:
        subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/state", b"idle"))
        subscriber.publish(f"{ROOT}/cmd/health", '{"transaction":"1"}')
        subscriber.publish(f"{ROOT}/cmd/xyzzyx", "")
        subscriber.publish(f"{ROOT}/xyzzyx/set", "1")
        assert known(subscriber, reader, b"cmd/xyzzyx") == set(VERBS)
        assert known(subscriber, reader, b"xyzzyx/set") == set(SETTINGS)
        assert daemon.wait() == 0
    subscriber.wait_for(lambda m: (m.topic, m.payload) == (f"{ROOT}/availability", b"offline"))

    sent = [m for m in subscriber.seen if m.topic.startswith(f"{ROOT}/") and not is_ours(m)]
    names = [reader.message(m.topic, m.payload) for m in sent]
    assert {
        "availability",
        "state",
        "info",
        "health",
        "wakeDetected",
        "sessionStarted",
        "transcriptPartial",
        "transcriptFinal",
        "sessionEnded",
        "responseOk",
        "responseError",
        "error",
        *(f"{setting}State" for setting in SETTINGS),
    } <= set(names)
    for message, name in zip(sent, names, strict=True):
        bindings = reader.operation("send", name)["bindings"]["mqtt"]
        assert message.qos == bindings["qos"], name
        longest_s = bindings.get("messageExpiryInterval")
        assert (message.expiry_s is None) == (longest_s is None), name
        assert message.expiry_s is None or message.expiry_s <= longest_s, name
    announced = [m for m in subscriber.seen if m.topic == f"homeassistant/device/{NODE}/config"]
    assert announced
    assert all(reader.message(m.topic, m.payload) for m in announced)


def is_ours(message: Seen) -> bool:
    return message.topic.endswith("/set") or "/cmd/" in message.topic
