"""What leaves the daemon: states, problems, sessions, and their promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from voice_daemon.errors import Problem
from voice_daemon.events import (
    EndReason,
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    StateChanged,
    WakeDetected,
)
from voice_daemon.mqtt.messages import Info
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.session.metrics import ComputeCost

PROBLEM = Problem("mic", "10 s of digital silence", "look for a mute switch")


class Outgoing:
    """Collects what an announcer publishes."""

    def __init__(self) -> None:
        self.messages: list[MqttMessage] = []
        self.publisher = Publisher(
            publish=self.messages.append,
            topics=Topics("voice", "test"),
            info=Info("1.0", "tiny.en", ("hey_jarvis",), "default"),
            settings={"mute": False, "wake_threshold": 0.5},
            final_ttl_s=30,
            now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )

    def say(self, *events: Event) -> None:
        self.publisher.events(events, ComputeCost)

    def on(self, leaf: str) -> list[Any]:
        """Give the payloads on a topic, JSON decoded."""
        payloads = [m.payload for m in self.messages if m.topic == f"voice/test/{leaf}"]
        return [json.loads(p) if p.startswith(b"{") else p.decode() for p in payloads]


@pytest.fixture
def outgoing() -> Outgoing:
    return Outgoing()


def test_the_state_is_starting_until_ready(outgoing: Outgoing) -> None:
    outgoing.say(StateChanged(State.IDLE))
    assert outgoing.publisher.snapshot().state is State.STARTING
    assert outgoing.on("state") == []
    outgoing.publisher.ready()
    assert outgoing.on("state") == ["idle"]


def test_a_state_is_published_once(outgoing: Outgoing) -> None:
    outgoing.publisher.ready()
    outgoing.publisher.ready()
    outgoing.say(StateChanged(State.LISTENING), StateChanged(State.LISTENING))
    assert outgoing.on("state") == ["idle", "listening"]


def test_a_problem_is_never_hidden_behind_idle_or_listening(outgoing: Outgoing) -> None:
    outgoing.publisher.raise_problem("wake.self_test", PROBLEM)
    outgoing.publisher.ready()
    outgoing.say(StateChanged(State.LISTENING), StateChanged(State.IDLE))
    assert outgoing.on("state") == ["degraded"]


def test_a_log_that_cannot_be_written_makes_nobody_believe_that_it_is_deaf(
    outgoing: Outgoing,
) -> None:
    problem = Problem("log", "no space left on device", "make room")
    outgoing.publisher.ready()
    outgoing.publisher.raise_problem("log.unwritable", problem)
    assert outgoing.on("state") == ["idle"]
    assert outgoing.publisher.snapshot().problems == {"log.unwritable": problem}
    assert not problem.hinders_hearing
    assert PROBLEM.hinders_hearing


def test_a_problem_is_told_once_and_its_end_gives_the_state_back(outgoing: Outgoing) -> None:
    outgoing.publisher.ready()
    for seconds in (10, 11, 12):
        told = Problem("mic", f"{seconds} s of digital silence", PROBLEM.remedy)
        outgoing.publisher.raise_problem("mic.silent", told)
    assert outgoing.publisher.snapshot().problems["mic.silent"].message.startswith("12 s")
    outgoing.publisher.clear_problem("mic.silent")
    outgoing.publisher.clear_problem("mic.silent")
    assert [error["code"] for error in outgoing.on("error")] == ["mic.silent"]
    assert outgoing.on("state") == ["idle", "degraded", "idle"]


def test_a_broker_that_forgot_everything_is_told_everything(outgoing: Outgoing) -> None:
    outgoing.publisher.ready()
    outgoing.publisher.setting("mute", value=True)
    retained = outgoing.publisher.retained()
    assert all(message.retain for message in retained)
    by_topic = {m.topic.removeprefix("voice/test/"): m.payload for m in retained}
    assert by_topic["state"] == b"idle"
    assert by_topic["mute/state"] == b"ON"
    assert by_topic["wake_threshold/state"] == b"0.5"
    assert json.loads(by_topic["info"])["model"] == "tiny.en"


def test_a_session_left_open_gets_its_end_and_nothing_after_it(outgoing: Outgoing) -> None:
    outgoing.say(SessionStarted("s1", "hey_jarvis", 100))
    outgoing.publisher.close(EndReason.ERROR)
    outgoing.say(SessionEnded("s1", EndReason.SILENCE, 0, 200))
    outgoing.publisher.close(EndReason.SHUTDOWN)
    assert [(m["event_type"], m.get("reason")) for m in outgoing.on("session")] == [
        ("started", None),
        ("ended", "error"),
    ]
    assert outgoing.on("error")[0]["session_id"] == "s1"


def test_closing_without_an_open_session_says_nothing(outgoing: Outgoing) -> None:
    outgoing.say(
        SessionStarted("s1", "hey_jarvis", 100), SessionEnded("s1", EndReason.SILENCE, 0, 200)
    )
    outgoing.publisher.close(EndReason.SHUTDOWN)
    assert len(outgoing.on("session")) == 2
    assert outgoing.on("error") == []


def test_errors_still_leave_after_closing(outgoing: Outgoing) -> None:
    outgoing.publisher.close(EndReason.ERROR)
    outgoing.publisher.error(ErrorRaised("x.y", "it broke", "mend it"))
    assert outgoing.on("error")[0]["code"] == "x.y"


def test_each_session_has_one_log_line(outgoing: Outgoing) -> None:
    with capture_logs() as lines:
        outgoing.say(
            WakeDetected("s1", "hey_jarvis", 0.94, 100),
            SessionStarted("s1", "hey_jarvis", 100),
            SessionEnded("s1", EndReason.NO_SPEECH, 0, 80_100),
        )
    done = [line for line in lines if line["event"] == "session.done"]
    assert [(line["session_id"], line["reason"], line["session_ms"]) for line in done] == [
        ("s1", "no_speech", 5000)
    ]


def test_the_picture_has_the_last_wake(outgoing: Outgoing) -> None:
    outgoing.say(WakeDetected("s1", "hey_jarvis", 0.94, 100))
    picture = outgoing.publisher.snapshot()
    assert picture.last_wake_at == "2026-01-02T03:04:05+00:00"
    assert picture.totals.last_score == 0.94
