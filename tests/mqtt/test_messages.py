"""Every message as it goes on the wire: topic, flags and bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest

from support.transcripts import FINAL
from voice_daemon.events import (
    Claim,
    EndReason,
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    Stage,
    State,
    StateChanged,
    StoodDown,
    TranscriptPartial,
    WakeDetected,
)
from voice_daemon.mqtt import messages
from voice_daemon.mqtt.commands import Command, response_message
from voice_daemon.mqtt.messages import Health, Info
from voice_daemon.mqtt.peers import claim_message
from voice_daemon.mqtt.topics import MqttMessage, Topics

GOLDEN = Path(__file__).parent.parent / "golden" / "mqtt"
AT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
TOPICS = Topics("voice", "mac-mini")
CLAIM = Claim(Stage.CLAIM, "mac-mini", "s1", "hey jarvis/2", 0.9712)
EVENTS: dict[str, Event] = {
    "wake": WakeDetected("s1", "hey_jarvis", 0.94096, 16_000),
    "session_started": SessionStarted("s1", None, 16_000),
    "session_ended": SessionEnded("s1", EndReason.SILENCE, 1, 64_000),
    "partial": TranscriptPartial("s1", 4, "turn on the", " kit", "en", 1480, 310),
    "final": FINAL,
    "error": ErrorRaised("mic.lost", 'the microphone "Anker" is gone', "plug it in", "s1"),
    "state": StateChanged(State.TRANSCRIBING),
}
HEALTH = Health(
    uptime_s=3600,
    wakes=14,
    sessions=12,
    finals=9,
    no_speech=2,
    failed=1,
    stood_down=2,
    finals_lost=0,
    finals_unconfirmed=0,
    dropped_audio_ms=0,
    mqtt_reconnects=1,
    mqtt_dropped=3,
    rtf=0.21234,
    lag_ms=120,
    level_dbfs=float("-inf"),
    memory_mb=512,
    model_memory_mb=180,
    threads=6,
    mic_problem="permission?",
    mic_remedy="allow it",
)


def as_golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return document


def assert_golden(message: MqttMessage, name: str) -> None:
    golden = as_golden(name)
    assert (message.topic, message.qos, message.retain, message.expiry_s) == (
        golden["topic"],
        golden["qos"],
        golden["retain"],
        golden["expiry_s"],
    )
    payload = golden["payload"]
    if isinstance(payload, dict):
        # Bytes, so that key order, compactness and UTF-8 count.
        payload = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    assert message.payload.decode() == payload


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_published_exactly_so(name: str) -> None:
    (message,) = messages.for_event(EVENTS[name], topics=TOPICS, at=AT, final_ttl_s=12)
    assert_golden(message, name)


def test_a_claim_is_published_exactly_so() -> None:
    assert_golden(claim_message(CLAIM, topics=TOPICS, at=AT), "claim")


def test_every_kind_of_event_is_published_or_stays_inside_on_purpose() -> None:
    inside = (SpeechStarted("s1", 0), SpeechEnded("s1", 0), StoodDown(CLAIM, CLAIM))
    for event in inside:
        assert messages.for_event(event, topics=TOPICS, at=AT) == ()
    covered = {type(event) for event in (*EVENTS.values(), *inside)}
    assert covered == set(get_args(Event))


def test_the_retained_picture_is_published_exactly_so() -> None:
    info = Info("0.1.0", "tiny.en", ("hey_jarvis", "alexa"), "Anker PowerConf", instance="5f0c21ab")
    assert_golden(messages.info_message(info, topics=TOPICS), "info")
    assert_golden(messages.health_message(HEALTH, topics=TOPICS, at=AT), "health")
    assert_golden(messages.availability(TOPICS, online=True), "online")
    assert_golden(messages.availability(TOPICS, online=False), "offline")
    assert_golden(messages.setting_message("mute", value=True, topics=TOPICS), "mute_state")
    threshold = messages.setting_message("wake_threshold", 0.55, topics=TOPICS)
    assert_golden(threshold, "threshold_state")


def test_a_response_echoes_the_transaction() -> None:
    command = Command("listen", "t-1")
    answer = response_message(command, topics=TOPICS, data={"session_id": "s1"})
    assert_golden(answer, "response_ok")
    mistyped = Command("lisen", 7)
    error = mistyped.unknown(("listen", "cancel", "health"))
    assert_golden(response_message(mistyped, topics=TOPICS, error=error), "response_error")


def test_at_is_utc_whatever_zone_it_was_given_in() -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    (message,) = messages.for_event(EVENTS["wake"], topics=TOPICS, at=local)
    assert_golden(message, "wake")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        messages.for_event(EVENTS["wake"], topics=TOPICS, at=AT.replace(tzinfo=None))


def test_what_json_cannot_hold_becomes_null_and_never_reaches_the_broker() -> None:
    odd = replace(FINAL, confidence=float("nan"), no_speech_prob=float("inf"))
    (message,) = messages.for_event(odd, topics=TOPICS, at=AT)
    document = json.loads(message.payload)
    assert document["confidence"] is None
    assert document["no_speech_prob"] is None


def test_half_a_character_does_not_make_the_payload_undecodable() -> None:
    odd = replace(FINAL, text="caf\udce9")
    (message,) = messages.for_event(odd, topics=TOPICS, at=AT)
    assert json.loads(message.payload.decode("utf-8"))["text"] == "caf?"


def test_a_base_topic_may_have_levels() -> None:
    assert Topics("home/voice", "den").command_filters == (
        "home/voice/den/cmd/+",
        "home/voice/den/+/set",
    )
