from __future__ import annotations

import dataclasses
import json
import math
import re
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon._lib.terminal import duration_text
from voice_daemon.cli.status_view import render
from voice_daemon.errors import ControlError, Problem
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

DEGRADED = Status(
    version="0.3.1",
    pid=812,
    uptime_s=93_800.0,
    mic=MicStatus("Anker PowerConf", 16_000, last_block_age_ms=40, reopens=1),
    wake=WakeStatus(("hey_jarvis",), 0.5, "pass", last_at="2026-03-01T18:02:11Z", last_score=0.94),
    asr=AsrStatus("small", warm=True, rtf_p95=0.21, sessions=12, no_speech=2),
    mqtt=BrokerStatus("mqtts://ha:8883", "mini", connected=True, protocol="5"),
    session=SessionStatus("idle", muted=False),
    problems=(
        Problem("mic", "8.2 s of digital silence", "microphone permission? `daemonctl doctor`"),
    ),
    log_file="~/Library/Logs/voice-daemon/voice-daemon.jsonl",
)
HEALTHY = dataclasses.replace(DEGRADED, problems=())


def test_text_shows_problems_first_then_a_line_a_part() -> None:
    lines = render(DEGRADED, colour=False).splitlines()
    assert lines == [
        "voice-daemon 0.3.1  ● degraded  (pid 812, up 1d 2h)",
        "  ! mic: 8.2 s of digital silence — microphone permission? `daemonctl doctor`",
        'mic     "Anker PowerConf" 16 kHz mono  level -inf dBFS  last block 40 ms ago  reopens 1',
        "wake    hey_jarvis  threshold 0.50  self-test pass  last 2026-03-01T18:02:11Z (0.94)",
        "asr     small  warm  rtf p95 0.21  sessions 12  (finals 0, no-speech 2, failed 0)",
        "mqtt    connected mqtts://ha:8883 as mini (MQTT 5)  queued 0  dropped 0  reconnects 0",
        "session idle  muted no  logs ~/Library/Logs/voice-daemon/voice-daemon.jsonl",
    ]


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render(DEGRADED, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == render(DEGRADED, colour=False)


def test_no_problem_means_healthy_and_a_starting_daemon_says_so() -> None:
    assert "● healthy" in render(HEALTHY, colour=False)
    starting = dataclasses.replace(HEALTHY, session=SessionStatus("starting", muted=False))
    assert "● starting" in render(starting, colour=False)


def test_a_daemon_before_its_first_block_broker_and_wake_is_readable() -> None:
    early = dataclasses.replace(
        HEALTHY,
        mic=MicStatus("default", 44_100, channels=2, dropped_samples=160),
        wake=WakeStatus(("hey_jarvis", "alexa"), 0.5, "pending"),
        asr=AsrStatus("tiny.en", warm=False),
        mqtt=BrokerStatus("mqtt://h:1883", "c", connected=False, last_error="refused", expired=2),
        session=SessionStatus("listening", muted=True, session_id="s1", last_end_reason="silence"),
    )
    text = render(early, colour=False)
    assert "44.1 kHz stereo" in text
    assert "last block never" in text
    assert "dropped 160 samples" in text
    assert "hey_jarvis, alexa" in text
    assert "last never" in text
    assert "cold  rtf p95 -" in text
    assert "not connected mqtt://h:1883 as c  queued 0  dropped 2" in text
    assert "last error: refused" in text
    assert "listening s1  muted yes  last ended silence" in text


def test_json_has_schema_and_no_infinity() -> None:
    document = json.loads(json.dumps(DEGRADED.to_dict(), allow_nan=False))
    assert document["schema"] == 1
    assert document["healthy"] is False
    assert document["mic"]["level_dbfs"] is None
    assert document["problems"][0]["part"] == "mic"


def any_of(hint: object) -> st.SearchStrategy[typing.Any]:
    """Values of a field's type; dataclasses are filled field by field."""
    if not isinstance(hint, type) or not dataclasses.is_dataclass(hint):
        return st.from_type(hint).filter(is_finite)  # type: ignore[arg-type] # e.g. str | None
    hints = typing.get_type_hints(hint)
    return st.builds(hint, **{name: any_of(part) for name, part in hints.items()})


def is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@given(status=any_of(Status))
def test_every_status_survives_json(status: Status) -> None:
    assert Status.from_dict(json.loads(json.dumps(status.to_dict()))) == status


def test_digital_silence_survives_json() -> None:
    assert Status.from_dict(DEGRADED.to_dict()) == DEGRADED
    loud = dataclasses.replace(DEGRADED, mic=MicStatus("m", 16_000, level_dbfs=-12.5))
    assert Status.from_dict(loud.to_dict()) == loud


def test_what_a_newer_daemon_added_is_ignored() -> None:
    document = {**DEGRADED.to_dict(), "moon_phase": "full"}
    document["mic"] = {**document["mic"], "colour": "black"}
    assert Status.from_dict(document) == DEGRADED


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"mic": None},
        {"mic": []},
        {"wake": {}},
        {"problems": [{"part": "mic"}]},
        {"problems": 3},
    ],
)
def test_a_status_that_cannot_be_read_says_so(change: dict[str, object]) -> None:
    with pytest.raises(ControlError, match="cannot be read"):
        Status.from_dict({**DEGRADED.to_dict(), **change})
    with pytest.raises(ControlError):
        Status.from_dict({})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (3_725, "1h 2m"),
        (93_800, "1d 2h"),
        (8_640_000, "100d 0h"),
    ],
)
def test_durations_show_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
