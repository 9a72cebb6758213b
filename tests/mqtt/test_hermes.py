"""Rhasspy's protocol: every message as it goes on the wire, and what is understood of others'."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support import transcripts
from voice_daemon.events import (
    EndReason,
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    StateChanged,
    TranscriptPartial,
    WakeDetected,
    Word,
)
from voice_daemon.mqtt import messages
from voice_daemon.mqtt.commands import Command, Kind
from voice_daemon.mqtt.hermes import FILTERS, Hermes
from voice_daemon.mqtt.messages import MqttMessage, Topics

GOLDEN = Path(__file__).parent.parent / "golden" / "hermes"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOPICS = Topics("voice", "den")
TEXT_CAPTURED = "hermes/asr/textCaptured"
START = "hermes/asr/startListening"
STOP = "hermes/asr/stopListening"

WAKE = WakeDetected("s1", "hey_jarvis", 0.94, 16_000)
STARTED = SessionStarted("s1", "hey_jarvis", 16_000)
FINAL = replace(
    transcripts.FINAL,
    words=(Word("Schalte", 0.1203, 0.31), Word("misheard", 0.31, 0.4), Word("ein.", 1.2, 1.5)),
)
ENDED = SessionEnded("s1", EndReason.SILENCE, 1, 64_000)


class Site:
    """A site called `den`, with a clock that stands still until told."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.hermes = Hermes(TOPICS, lambda: self.now_s)

    def say(self, *events: Event) -> list[MqttMessage]:
        return [
            message
            for event in events
            for message in self.hermes.for_event(event, topics=TOPICS, at=AT, final_ttl_s=12)
        ]

    def hear(self, topic: str, **body: Any) -> Command | None:  # noqa: ANN401 - any JSON
        return self.hermes.command(topic, json.dumps({"siteId": "den", **body}).encode())

    def captured(self, *events: Event) -> list[tuple[str, str]]:
        """Give session and text of each textCaptured."""
        said = [json.loads(m.payload) for m in self.say(*events) if m.topic == TEXT_CAPTURED]
        return [(body["sessionId"], body["text"]) for body in said]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(
    ("name", "before", "event"),
    [
        ("detected", (), WAKE),
        ("started", (WAKE,), STARTED),
        ("captured", (WAKE, STARTED), FINAL),
        ("ended", (WAKE, STARTED, FINAL), ENDED),
    ],
)
def test_an_event_is_published_exactly_so(
    site: Site, name: str, before: tuple[Event, ...], event: Event
) -> None:
    site.say(*before)
    said = [
        {
            "topic": m.topic,
            "qos": m.qos,
            "retain": m.retain,
            "expiry_s": m.expiry_s,
            "payload": json.loads(m.payload),
        }
        for m in site.say(event)
    ]
    assert said == json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def test_nothing_is_retained_and_everything_gets_old(site: Site) -> None:
    said = site.say(WAKE, STARTED, FINAL, ENDED)
    assert len(said) == 6
    assert not any(message.retain for message in said)
    assert all(message.expiry_s is not None and message.qos == 1 for message in said)


def test_a_lost_final_is_known_as_one(site: Site) -> None:
    said = site.say(WAKE, STARTED, FINAL, ENDED)
    assert [(m.topic, m.final_of) for m in said if m.final_of] == [(TEXT_CAPTURED, "s1")]


def test_partials_have_no_topic(site: Site) -> None:
    assert site.say(TranscriptPartial("s1", 1, "turn", " on", "en", 500, 100)) == []


@pytest.mark.parametrize(
    "event", [StateChanged(State.IDLE), ErrorRaised("mic.lost", "gone", "plug it in", "s1")]
)
def test_state_and_errors_stay_native(site: Site, event: Event) -> None:
    assert site.say(event) == list(messages.for_event(event, topics=TOPICS, at=AT))


def test_a_wake_word_that_is_no_topic_level_becomes_one(site: Site) -> None:
    (message,) = site.say(replace(WAKE, wake_word="my/own+word#1"))
    assert message.topic == "hermes/hotword/my_own_word_1/detected"
    assert json.loads(message.payload)["modelId"] == "my/own+word#1"


def test_a_confidence_that_json_cannot_hold_does_not_lose_the_text(site: Site) -> None:
    odd = replace(FINAL, confidence=float("nan"))
    assert site.captured(odd) == [("s1", FINAL.text)]


@pytest.mark.parametrize("reason", EndReason)
def test_every_end_has_a_termination_that_hermes_knows(site: Site, reason: EndReason) -> None:
    said = site.say(STARTED, SessionEnded("s1", reason, 0, 1))
    termination = json.loads(said[-1].payload)["termination"]["reason"]
    assert termination in {"nominal", "abortedByUser", "timeout", "error"}
    assert (termination == "nominal") == (reason in {EndReason.SILENCE, EndReason.MAX_LENGTH})


def test_listening_that_is_asked_for_is_answered_under_the_id_of_the_asker(site: Site) -> None:
    assert site.hear(START, sessionId="h7") == Command("listen")
    by_command = replace(STARTED, wake_word=None)
    assert site.say(by_command) == []  # whoever asked announces the session itself
    assert site.captured(FINAL, ENDED) == [("h7", FINAL.text)]


def test_a_dialogue_manager_takes_a_session_over(site: Site) -> None:
    site.say(WAKE, STARTED)
    assert site.hear(START, sessionId="den-hey_jarvis-1") is None
    assert site.captured(FINAL) == [("den-hey_jarvis-1", FINAL.text)]
    assert site.say(ENDED) == []


def test_who_asked_is_answered_also_when_nothing_was_said(site: Site) -> None:
    site.say(WAKE, STARTED)
    site.hear(START, sessionId="s1")
    nothing = SessionEnded("s1", EndReason.NO_SPEECH, 0, 64_000)
    (message,) = site.say(nothing)
    body = json.loads(message.payload)
    assert (message.topic, body["sessionId"], body["text"]) == (TEXT_CAPTURED, "s1", "")
    assert message.final_of is None
    assert message.expiry_s == 12


def test_without_a_dialogue_manager_silence_gives_no_text(site: Site) -> None:
    site.say(WAKE, STARTED)
    assert site.captured(SessionEnded("s1", EndReason.NO_SPEECH, 0, 64_000)) == []


def test_what_we_say_comes_back_from_the_broker_and_is_not_heard(site: Site) -> None:
    opening = site.say(WAKE, STARTED)
    assert [site.hermes.command(own.topic, own.payload) for own in opening] == [None] * 3
    closing = site.say(FINAL, ENDED)
    assert closing[-1].topic == "hermes/dialogueManager/sessionEnded"
    # After an outage it all comes at once, when the session is long over.
    assert [site.hermes.command(own.topic, own.payload) for own in opening + closing] == [None] * 6


def test_a_dialogue_that_goes_on_keeps_its_id(site: Site) -> None:
    site.say(WAKE, STARTED)
    site.hear(START, sessionId="s1")
    site.say(FINAL, ENDED)
    assert site.hear(STOP, sessionId="s1") is None
    assert site.hear(START, sessionId="s1") == Command("listen")
    site.say(SessionStarted("s2", None, 99_000))
    assert site.captured(replace(FINAL, session_id="s2")) == [("s1", FINAL.text)]


def test_stop_and_start_in_the_middle_of_a_session_open_another(site: Site) -> None:
    site.say(WAKE, STARTED)
    assert site.hear(STOP, sessionId="s1") == Command("cancel")
    assert site.hear(START, sessionId="h2") == Command("listen")
    site.say(SessionEnded("s1", EndReason.CANCELLED, 0, 20_000), SessionStarted("s2", None, 20_000))
    assert site.captured(replace(FINAL, session_id="s2")) == [("h2", FINAL.text)]


@pytest.mark.parametrize(("named", "is_heard"), [("s1", True), ("", True), ("older", False)])
def test_stopping_is_about_the_session_that_it_names(
    site: Site, named: str, *, is_heard: bool
) -> None:
    site.say(WAKE, STARTED)
    assert (site.hear(STOP, sessionId=named) is not None) == is_heard


def test_stopping_before_the_session_opened_cancels_it(site: Site) -> None:
    site.hear(START, sessionId="h1")
    assert site.hear(STOP, sessionId="h1") == Command("cancel")
    assert site.hear(STOP, sessionId="h1") is None


def test_a_request_that_led_to_nothing_is_forgotten(site: Site) -> None:
    site.hear(START, sessionId="h1")
    site.now_s += 6
    site.say(SessionStarted("s2", None, 99_000))
    assert site.captured(replace(FINAL, session_id="s2")) == [("s2", FINAL.text)]


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("hermes/hotword/toggleOff", "ON"),
        ("hermes/hotword/toggleOn", "OFF"),
        ("hermes/asr/toggleOff", "ON"),
        ("hermes/asr/toggleOn", "OFF"),
    ],
)
def test_a_switch_mutes_unless_it_is_for_a_passing_reason(
    site: Site, topic: str, value: str
) -> None:
    assert site.hear(topic) == Command("mute", value=value, kind=Kind.SETTING)
    assert site.hear(topic, reason="") == Command("mute", value=value, kind=Kind.SETTING)
    for reason in ("dialogueSession", "playAudio", "ttsSay"):
        assert site.hear(topic, reason=reason) is None


@pytest.mark.parametrize("topic", FILTERS)
def test_another_site_is_none_of_our_business(site: Site, topic: str) -> None:
    site.say(WAKE, STARTED)
    assert site.hear(topic, siteId="kitchen") is None
    assert site.hermes.command(topic, b"{}") is None  # Hermes' default site


def test_a_node_called_default_is_hermes_default_site() -> None:
    hermes = Hermes(Topics("voice", "default"), lambda: 0.0)
    assert hermes.command(START, b"{}") == Command("listen")


@pytest.mark.parametrize("topic", FILTERS)
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 10_000,
        b'{"siteId":["den"]}',
        b'{"siteId":"den","x":"' + b"x" * 20_000 + b'"}',
    ],
)
def test_what_is_no_request_is_left_alone(site: Site, topic: str, payload: bytes) -> None:
    assert site.hermes.command(topic, payload) is None


def test_an_odd_session_id_is_none(site: Site) -> None:
    site.say(WAKE, STARTED)
    assert site.hear(START, sessionId=5) is None
    assert site.captured(FINAL) == [("s1", FINAL.text)]
