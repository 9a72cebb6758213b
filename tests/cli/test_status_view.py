from __future__ import annotations

import dataclasses
import re

import pytest

from support.statuses import DEGRADED
from voice_daemon._lib.terminal import Painter, bar, duration_text
from voice_daemon.cli.diagnosis import Condition
from voice_daemon.cli.status_view import headlines, part_lines
from voice_daemon.runtime.status import (
    AsrStatus,
    BrokerStatus,
    MicStatus,
    SessionStatus,
    Status,
    WakeStatus,
)

HEALTHY = dataclasses.replace(DEGRADED, problems=())


def text_of(status: Status, condition: Condition, *, colour: bool = False) -> str:
    paint = Painter(colour=colour)
    return "\n".join((*headlines(status, condition, paint), *part_lines(status, paint)))


def test_text_shows_problems_first_then_a_line_a_part() -> None:
    lines = text_of(DEGRADED, Condition.DEGRADED).splitlines()
    assert lines == [
        "voice-daemon 0.3.1  ● degraded  (pid 812, up 1d 2h)",
        "  ! mic: 8.2 s of digital silence — microphone permission? `daemonctl doctor`",
        'mic     "Anker PowerConf" 16 kHz mono  level -inf dBFS  last block 40 ms ago  reopens 1',
        "wake    hey_jarvis  threshold 0.50  self-test pass  last 2026-03-01T18:02:11Z (0.94)",
        "asr     small  warm  rtf p95 0.21  sessions 12  (finals 0, no-speech 2, failed 0)",
        "mqtt    connected mqtts://ha:8883 as mini (MQTT 5)  queued 0  dropped 0  reconnects 0",
        "session idle  muted no  logs ~/Library/Logs/voice-daemon/voice-daemon.jsonl",
    ]


def test_a_recogniser_that_was_not_judged_is_not_said_to_have_passed() -> None:
    asr = dataclasses.replace(HEALTHY.asr, self_test="skipped")
    text = text_of(dataclasses.replace(HEALTHY, asr=asr), Condition.RUNNING)
    assert "self-test skipped" in text


def test_colour_changes_nothing_but_colour() -> None:
    coloured = text_of(DEGRADED, Condition.DEGRADED, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == text_of(DEGRADED, Condition.DEGRADED)


def test_the_first_line_says_how_it_is() -> None:
    assert "● healthy" in text_of(HEALTHY, Condition.RUNNING)
    starting = dataclasses.replace(HEALTHY, session=SessionStatus("starting", muted=False))
    assert "● starting" in text_of(starting, Condition.STARTING)


def test_a_daemon_before_its_first_block_broker_and_wake_is_readable() -> None:
    early = dataclasses.replace(
        HEALTHY,
        mic=MicStatus("default", 44_100, channels=2, dropped_samples=160),
        wake=WakeStatus(("hey_jarvis", "alexa"), 0.5, "pending"),
        asr=AsrStatus("tiny.en", warm=False),
        mqtt=BrokerStatus("mqtt://h:1883", "c", connected=False, last_error="refused", expired=2),
        session=SessionStatus("listening", muted=True, session_id="s1", last_end_reason="silence"),
    )
    text = text_of(early, Condition.RUNNING)
    assert "44.1 kHz stereo" in text
    assert "last block never" in text
    assert "dropped 160 samples" in text
    assert "hey_jarvis, alexa" in text
    assert "last never" in text
    assert "cold  rtf p95 -" in text
    assert "not connected mqtt://h:1883 as c  queued 0  dropped 2" in text
    assert "last error: refused" in text
    assert "listening s1  muted yes  last ended silence" in text


@pytest.mark.parametrize(
    ("share", "mark", "cells"),
    [
        (0.0, None, "    "),
        (-1.0, None, "    "),
        (0.5, None, "██  "),
        (2.0, None, "████"),
        (0.375, None, "█▌  "),
        (0.25, 0.75, "█  |"),
        (0.75, 0.75, "███ "),
        (0.25, 1.0, "█  |"),
    ],
)
def test_a_bar_is_as_full_as_its_share_and_shows_the_mark_ahead(
    share: float, mark: float | None, cells: str
) -> None:
    assert bar(share, 4, mark=mark) == cells


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
