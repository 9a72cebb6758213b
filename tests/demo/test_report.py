"""What the demo makes of messages, and that it knows its own clip."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from voice_daemon.demo.report import CLIP_WORDS, ReceivedMessage, Report, WordLatency
from voice_daemon.demo.screen import JsonScreen, Screen, TerminalScreen

WAKE = {"wake_word": "hey_jarvis", "score": 0.951}


def partial(text: str, draft: str) -> dict[str, Any]:
    return {"text": text, "draft": draft, "lag_ms": 210}


MESSAGES = (
    ReceivedMessage("availability", "online", 0.0),
    ReceivedMessage("info", {"model": "tiny.en", "input_device": "file demo.wav"}, 0.0),
    ReceivedMessage("state", "idle", 0.1),
    ReceivedMessage("health", {"memory_mb": 300, "threads": 5}, 0.5),
    ReceivedMessage("wake", WAKE, 1.655),
    ReceivedMessage("session", {"event_type": "started"}, 1.66),
    ReceivedMessage("transcript/partial", partial("", "Turn on"), 2.3),
    ReceivedMessage("transcript/partial", partial("Turn on the", " kitten"), 2.8),
    ReceivedMessage("transcript/final", {"text": "Turn on the kitchen lights."}, 3.735),
    ReceivedMessage("session", {"event_type": "ended", "reason": "silence"}, 3.74),
)


def report_of(*arrivals: ReceivedMessage) -> Report:
    report = Report()
    for arrival in arrivals:
        report.add(arrival)
    return report


def test_the_clips_words_end_where_its_sound_does(demo_clip: Path) -> None:
    samples, rate_hz = soundfile.read(demo_clip, dtype="int16")
    loud_s = np.flatnonzero(np.abs(samples) > 300) / rate_hz
    assert loud_s[-1] == pytest.approx(CLIP_WORDS[-1].end_s, abs=0.05)
    assert CLIP_WORDS[0].start_s - 0.05 < loud_s[0] < CLIP_WORDS[0].end_s


def test_a_good_demo_is_one_whose_final_reads_as_spoken() -> None:
    verdict = report_of(*MESSAGES).verdict()
    assert verdict.ok
    assert verdict.n_partials == 2
    assert verdict.wake_latency_s == pytest.approx(0.1)
    assert verdict.final_latency_s == pytest.approx(0.7)


@pytest.mark.parametrize("text", ["Turn on the kitchen light.", "Turn on the kitchen lights on."])
def test_another_final_is_a_failure(text: str) -> None:
    assert not report_of(ReceivedMessage("transcript/final", {"text": text}, 3.7)).verdict().ok


def test_no_final_is_a_failure() -> None:
    verdict = report_of(*MESSAGES[:-2]).verdict()
    assert not verdict.ok
    assert verdict.final is None


def test_a_word_counts_from_when_it_was_there_for_good_or_correctly_as_a_draft() -> None:
    words = report_of(*MESSAGES).verdict().words
    assert words[:3] == (
        WordLatency("turn", 1.955, shown_s=2.3, committed_s=2.8),
        WordLatency("on", 2.140, shown_s=2.3, committed_s=2.8),
        WordLatency("the", 2.200, shown_s=2.8, committed_s=2.8),
    )
    assert words[3] == WordLatency("kitchen", 2.6, shown_s=3.735, committed_s=3.735)


def shown_on(screen: Screen, *arrivals: ReceivedMessage) -> None:
    report = Report()
    screen.opening(clip="a clip", broker="a broker", watch="a command")
    for arrival in arrivals:
        screen.row(report.add(arrival), arrival)
    screen.closing(report.verdict())


def test_the_terminal_shows_rows_latencies_and_the_outcome() -> None:
    out = io.StringIO()
    shown_on(TerminalScreen(Console(file=out, width=100)), *MESSAGES)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    final = next(line for line in lines if "transcript/final" in line)
    assert final.lstrip().startswith("3.7")
    assert final.endswith("0.70 s after the last word")
    assert any(line.endswith("0.21 s behind the voice") for line in lines)
    columns = {
        line.index(topic) for line in lines for topic in ("wake ", "session ") if topic in line
    }
    assert len(columns) == 1
    assert lines[-1].startswith("✓")


def test_the_terminal_says_what_went_wrong() -> None:
    out = io.StringIO()
    shown_on(TerminalScreen(Console(file=out, width=100)), *MESSAGES[:-2])
    assert out.getvalue().splitlines()[-1].startswith("✗ no final")


def test_json_has_every_payload_as_it_came_and_a_summary() -> None:
    out = io.StringIO()
    shown_on(JsonScreen(out), *MESSAGES)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {line["schema"] for line in lines} == {1}
    assert [line["event"] for line in lines] == ["started", *["message"] * len(MESSAGES), "summary"]
    assert lines[5]["payload"] == WAKE
    assert lines[-1]["ok"] is True
