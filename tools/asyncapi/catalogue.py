"""What is said on MQTT: each message built by the code that builds it, with its schema.

Knows nothing of AsyncAPI. A topic is written with its levels in braces: `{base}/{node}/wake`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from tools.asyncapi.schemas import Schema, object_schema, words
from voice_daemon.events import (
    Claim,
    EndReason,
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    Stage,
    State,
    Timing,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    Word,
)
from voice_daemon.homeassistant.discovery import words_message
from voice_daemon.mqtt import messages
from voice_daemon.mqtt.commands import Command, response_message
from voice_daemon.mqtt.messages import Health, Info
from voice_daemon.mqtt.peers import claim_message
from voice_daemon.mqtt.topics import SCHEMA, MqttMessage, Topics
from voice_daemon.runtime.live_settings import (
    AS_CONFIGURED,
    MUTE,
    SILENCE_MS,
    SILENCE_RANGE_MS,
    THRESHOLD_RANGE,
    WAKE_THRESHOLD,
    WAKE_WORD,
)
from voice_daemon.runtime.vocabulary_keeper import VocabularyState, VocabularySummary
from voice_daemon.vocabulary.document import SCHEMA as DOCUMENT_SCHEMA

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
TOPICS = Topics("voice", "mac-mini")
ROOT = "{base}/{node}"

VERBS = ("listen", "cancel", "mute", "unmute", "health", "speak")
"""What `cmd/<verb>` knows."""


@dataclass(frozen=True)
class Entry:
    """One message on one topic."""

    name: str
    topic: str
    summary: str
    schema: Schema
    example: Any = None
    qos: int = 1
    retain: bool = False
    expiry_s: float | None = None
    is_text: bool = False
    """True for a bare word, False for JSON."""


EVENTS: dict[str, tuple[Event, str]] = {
    "wakeDetected": (WakeDetected("3f9c", "hey_jarvis", 0.94, 0), "A wake word was heard."),
    "sessionStarted": (
        SessionStarted("3f9c", "hey_jarvis", 0),
        "A session opened; exactly one `ended` follows.",
    ),
    "sessionEnded": (SessionEnded("3f9c", EndReason.SILENCE, 1, 0), "The session is over."),
    "transcriptPartial": (
        TranscriptPartial("3f9c", 4, "turn on the", " kit", "en", 1480, 310),
        "The text or the draft changed.",
    ),
    "transcriptFinal": (
        TranscriptFinal(
            session_id="3f9c",
            seq=9,
            text="Turn on the kitchen lights.",
            revised=True,
            language="en",
            end_reason=EndReason.SILENCE,
            duration_ms=2310,
            wake_word="hey_jarvis",
            confidence=0.91,
            no_speech_prob=0.02,
            timing=Timing(first_draft_ms=410, first_committed_ms=640, finalize_ms=180),
            words=(Word("Turn", 0.12, 0.31),),
            heard="Turn on the chicken lights.",
            in_vocabulary=True,
            handled_by="satellite",
        ),
        "The command; at most one a session, none when nothing was said.",
    ),
    "error": (
        ErrorRaised(
            "mic.lost",
            "the microphone was lost in the middle of a command",
            "check the microphone, then say it again",
            "3f9c",
        ),
        "Something that the owner should know and can act on.",
    ),
}
CLAIM_SUMMARIES = {
    Stage.CLAIM: "This device heard the wake word, and asks who heard it better.",
    Stage.TAKEN: "This device answers.",
}
INFO = Info("0.1.0", "tiny.en", ("hey_jarvis",), "Anker PowerConf", instance="5f0c21ab")


def sent() -> tuple[Entry, ...]:
    """Give everything that the daemon says in its native form."""
    return (*_picture(), *_events(), *_responses(), *_claims())


def received() -> tuple[Entry, ...]:
    """Give everything that the daemon hears."""
    request = _request()
    calls = (
        Entry(
            f"command{verb.capitalize()}",
            f"{ROOT}/cmd/{verb}",
            f"Asks for `{verb}`; answered on `response/{verb}`. Ignored when it is retained.",
            request,
            example={"transaction": "42"},
        )
        for verb in VERBS
    )
    settings = (
        Entry(
            f"{name}Set",
            f"{ROOT}/{name}/set",
            "A setting; `state` beside it shows the value in force. Ignored when it is retained.",
            {"anyOf": [schema, {"const": AS_CONFIGURED, "description": "Takes a change back."}]},
            example=example,
            is_text=True,
        )
        for name, (schema, example) in SETTINGS.items()
    )
    return (*calls, *settings, *_vocabulary(), *_claims())


def _vocabulary() -> tuple[Entry, ...]:
    """Give the documents with the home's names."""
    names = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}
    schema: Schema = {
        "type": "object",
        "required": ["schema"],
        "properties": {
            "schema": {"const": DOCUMENT_SCHEMA},
            "language": {"type": "string"},
            "entities": names,
            "areas": names,
            "floors": names,
            "lists": {"type": "object"},
            "sentences": {"type": "array", "items": {"type": "string"}},
        },
    }
    example = {"schema": DOCUMENT_SCHEMA, "entities": [{"name": "Bed Light", "domain": "light"}]}
    told = "Names of the home; a state, and so retained. Empty: they are taken back."
    return (
        Entry("vocabulary", "{base}/vocabulary", f"{told} For all nodes.", schema, example),
        Entry(
            "nodeVocabulary",
            f"{ROOT}/vocabulary",
            f"{told} It goes before the other.",
            schema,
            example,
        ),
    )


def _number(lowest: float, highest: float) -> Schema:
    return {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?$",
        "description": f"A number from {lowest:g} to {highest:g}.",
    }


SETTINGS: dict[str, tuple[Schema, str]] = {
    MUTE: (words("ON", "OFF"), "ON"),
    WAKE_THRESHOLD: (_number(*THRESHOLD_RANGE), "0.5"),
    SILENCE_MS: (_number(*SILENCE_RANGE_MS), "700"),
    WAKE_WORD: ({"type": "string", "description": "One of those on `info`."}, "hey_jarvis"),
}
"""Settings: what they can be, and an example."""


def _picture() -> tuple[Entry, ...]:
    """Give the retained picture of the node."""
    availability = messages.availability(TOPICS, online=True)
    state = messages.state_message(State.IDLE, topics=TOPICS)
    info = messages.info_message(INFO, topics=TOPICS)
    health = messages.health_message(_health(), topics=TOPICS, at=AT)
    return (
        _text("availability", availability, "Also the will.", words("online", "offline")),
        _text("state", state, "What the daemon is doing.", words(*State)),
        _json("info", info, "What this node is.", Info),
        _json(
            "vocabularyState",
            _names_known(),
            "What is known of the home's names: how many, never which.",
            VocabularySummary,
        ),
        _json("health", health, "Counters since the start and gauges of now, every 60 s.", Health),
        *(
            _text(
                f"{name}State",
                MqttMessage(TOPICS.setting_state(name), example.encode(), retain=True),
                "The value in force.",
                schema,
            )
            for name, (schema, example) in SETTINGS.items()
        ),
    )


def _events() -> tuple[Entry, ...]:
    partial, _ = EVENTS["transcriptPartial"]
    words = words_message(partial, TOPICS)
    assert words is not None
    told = "The words of the newest partial, for a dashboard; empty when their session has ended."
    return (
        *(
            _json(name, message, summary, type(event))
            for name, (event, summary) in EVENTS.items()
            for message in messages.for_event(event, topics=TOPICS, at=AT)
        ),
        _json("words", words, told, TranscriptPartial),
    )


def _responses() -> tuple[Entry, ...]:
    command = Command("listen", "42")
    ok = response_message(command, topics=TOPICS)
    error = response_message(command, topics=TOPICS, error=command.refusal("c", "why"))
    topic = f"{ROOT}/response/{{verb}}"
    transaction = {"type": ["string", "integer", "null"], "description": "Echoes the command's."}
    fault = object_schema({"code": "", "message": "", "remedy": ""}, ErrorRaised)
    data = {"type": "object"}
    return tuple(
        Entry(
            name,
            topic,
            summary,
            {
                "type": "object",
                "required": ["schema", "status", key, "transaction"],
                "properties": {
                    "schema": {"const": SCHEMA},
                    "status": {"const": status},
                    key: schema,
                    "transaction": transaction,
                },
            },
            example=json.loads(message.payload),
            qos=message.qos,
            retain=message.retain,
            expiry_s=message.expiry_s,
        )
        for name, message, summary, status, key, schema in (
            ("responseOk", ok, "The command was accepted.", "ok", "data", data),
            ("responseError", error, "The command was refused.", "error", "error", fault),
        )
    )


def _claims() -> tuple[Entry, ...]:
    """Give what devices that heard the same wake word say to each other."""
    entries = []
    for stage in Stage:
        claim = Claim(stage, TOPICS.node, "3f9c", "hey_jarvis", 0.94)
        message = claim_message(claim, topics=TOPICS, at=AT)
        entry = _json(f"arbitration{stage.capitalize()}", message, CLAIM_SUMMARIES[stage], Claim)
        topic = entry.topic.replace(TOPICS.base, "{base}", 1).replace("hey_jarvis", "{wake_word}")
        entries.append(replace(entry, topic=topic))
    return tuple(entries)


def _request() -> Schema:
    """Give what a command's payload may be, as an object."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "transaction": {
                "type": ["string", "integer", "null"],
                "description": "Echoed in the response.",
            },
            "value": {"type": ["string", "number", "boolean", "null"]},
        },
    }


def _names_known() -> MqttMessage:
    told = VocabularySummary(
        state=VocabularyState.READY,
        source="mqtt",
        names=51,
        language="en",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        why="-",
    )
    return told.message(TOPICS)


def _health() -> Health:
    """Give a picture in which everything has a value."""
    values: dict[str, Any] = {field.name: 1 for field in fields(Health)}
    return Health(**{**values, "mic_problem": "permission?", "mic_remedy": "allow it"})


def _json(name: str, message: MqttMessage, summary: str, source: type) -> Entry:
    example = json.loads(message.payload)
    return _entry(name, message, summary, object_schema(example, source), example)


def _text(name: str, message: MqttMessage, summary: str, schema: Schema) -> Entry:
    return _entry(name, message, summary, schema, message.payload.decode(), is_text=True)


def _entry(
    name: str,
    message: MqttMessage,
    summary: str,
    schema: Schema,
    example: Any,
    *,
    is_text: bool = False,
) -> Entry:
    return Entry(
        name,
        message.topic.replace(TOPICS.root, ROOT, 1),
        summary,
        schema,
        example,
        message.qos,
        message.retain,
        message.expiry_s,
        is_text,
    )
