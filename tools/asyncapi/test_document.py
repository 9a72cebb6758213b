"""docs/asyncapi.yaml is what the code says, and what is published is what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from support.transcripts import final_of
from tools.asyncapi.catalogue import EVENTS, SETTINGS, TOPICS, VERBS, Entry, received, sent
from tools.asyncapi.document import as_yaml
from tools.asyncapi.home_assistant import HEARD_FROM_IT, TOLD_TO_IT
from tools.asyncapi.reader import Reader
from tools.asyncapi.schemas import object_schema
from voice_daemon.config import Settings
from voice_daemon.events import EndReason, Timing, WakeDetected
from voice_daemon.homeassistant.discovery import Device, announcement
from voice_daemon.mqtt import messages
from voice_daemon.mqtt.commands import parse_command
from voice_daemon.mqtt.topics import Leaf
from voice_daemon.runtime.live_settings import SILENCE_RANGE_MS, THRESHOLD_RANGE, LiveSettings

COMMITTED = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
ENTRIES = (*sent(), *received(), *TOLD_TO_IT, *HEARD_FROM_IT)


@pytest.fixture(scope="module")
def reader() -> Reader:
    document = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    parameters = {"base": TOPICS.base, "node": TOPICS.node, "prefix": "homeassistant"}
    return Reader(document, parameters)


def test_the_committed_document_is_the_one_that_the_code_makes() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == as_yaml(), "run scripts/make-asyncapi"


def test_every_reference_leads_somewhere(reader: Reader) -> None:
    def references(part: Any) -> list[Any]:
        if isinstance(part, dict):
            here = [part] if "$ref" in part else []
            return here + [r for value in part.values() for r in references(value)]
        return [r for value in part for r in references(value)] if isinstance(part, list) else []

    found = references(reader.document)
    assert len(found) > len(ENTRIES)
    for reference in found:
        assert reader.resolve(reference)


@pytest.mark.parametrize("leaf", Leaf)
def test_every_topic_of_the_node_has_a_channel(reader: Reader, leaf: Leaf) -> None:
    assert reader.channel(TOPICS.path(leaf)) is not None


def test_every_setting_is_in_the_document() -> None:
    live = LiveSettings(Settings())
    assert set(SETTINGS) == set(live.names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_message_is_valid_and_its_example_too(reader: Reader, entry: Entry) -> None:
    message = reader.document["components"]["messages"][entry.name]
    jsonschema.Draft7Validator.check_schema(message["payload"])
    for example in message.get("examples", ()):
        jsonschema.validate(example["payload"], message["payload"])


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_sent_as_the_document_says(reader: Reader, name: str) -> None:
    event, _ = EVENTS[name]
    (message,) = messages.for_event(event, topics=TOPICS, at=datetime.now(UTC))
    assert reader.message(message.topic, message.payload) == name
    bindings = reader.operation("send", name)["bindings"]["mqtt"]
    assert (bindings["qos"], bindings["retain"]) == (message.qos, message.retain)
    assert bindings["messageExpiryInterval"] == message.expiry_s


def test_the_announcement_to_home_assistant_is_one(reader: Reader) -> None:
    device = Device(
        topics=TOPICS,
        prefix="homeassistant",
        version="1.0",
        model="tiny.en",
        wake_words=("hey_jarvis",),
        threshold_range=THRESHOLD_RANGE,
        silence_range_ms=SILENCE_RANGE_MS,
        instance="5f0c21ab",
    )
    message = announcement(device, dropped={"former": "sensor"})
    assert reader.message(message.topic, message.payload) == "homeAssistantDevice"
    bindings = reader.operation("send", "homeAssistantDevice")["bindings"]["mqtt"]
    assert (bindings["qos"], bindings["retain"]) == (message.qos, message.retain)


def test_a_message_with_something_missing_or_strange_is_not_valid(reader: Reader) -> None:
    topic = TOPICS.path(Leaf.STATE)
    assert reader.message(topic, b"idle") == "state"
    with pytest.raises(AssertionError, match="sleeping"):
        reader.message(topic, b"sleeping")
    with pytest.raises(AssertionError, match="session_id"):
        reader.message(TOPICS.path(Leaf.WAKE), b'{"schema":1,"event_type":"detected"}')


def test_what_never_happened_is_null_and_valid(reader: Reader) -> None:
    final = replace(
        final_of("s", ""),
        end_reason=EndReason.MAX_LENGTH,
        wake_word=None,
        confidence=float("nan"),
        timing=Timing(first_draft_ms=None, first_committed_ms=None, finalize_ms=1),
        words=(),
    )
    (message,) = messages.for_event(final, topics=TOPICS, at=datetime.now(UTC), final_ttl_s=30)
    assert reader.message(message.topic, message.payload) == "transcriptFinal"


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_that_the_document_allows_is_understood(reader: Reader, verb: str) -> None:
    topic = f"{TOPICS.root}/cmd/{verb}"
    payload = b'{"transaction":"42"}'
    reader.message(topic, payload)
    command = parse_command(topic, payload, topics=TOPICS)
    assert command is not None
    assert (command.verb, command.transaction) == (verb, "42")


def test_a_key_that_nothing_explains_is_not_passed_over() -> None:
    with pytest.raises(KeyError, match="loudness is no field of WakeDetected"):
        object_schema({"loudness": 1}, WakeDetected)
