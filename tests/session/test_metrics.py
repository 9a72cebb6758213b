"""Totals, summaries and compute cost of sessions; clocks that count."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from support.fakes import FakeTranscriber
from support.transcripts import final_of
from voice_daemon.events import (
    Claim,
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    Stage,
    StoodDown,
    Timing,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
)
from voice_daemon.session.metrics import ComputeCost, SessionMetrics, Summary, TimedTranscriber


def partial(session_id: str, lag_ms: int) -> TranscriptPartial:
    return TranscriptPartial(session_id, 1, "turn", " on", "en", 900, lag_ms)


def final(session_id: str) -> TranscriptFinal:
    timing = Timing(first_draft_ms=410, first_committed_ms=640, finalize_ms=180)
    return replace(final_of(session_id), timing=timing)


def session(
    metrics: SessionMetrics, session_id: str, reason: EndReason, cost: ComputeCost, *between: Event
) -> Summary:
    """Put one session through `metrics` and give its summary."""
    opening: tuple[Event, ...] = (
        WakeDetected(session_id, "hey_jarvis", 0.94, 16_000),
        SessionStarted(session_id, "hey_jarvis", 16_000),
    )
    for event in (*opening, *between):
        metrics.read(event)
    finals = sum(isinstance(event, TranscriptFinal) for event in between)
    ended = SessionEnded(session_id, reason, finals, 64_000)
    metrics.read(ended)
    summary = metrics.close(ended, cost)
    assert summary is not None
    return summary


def test_a_summary_holds_reason_latencies_lengths_and_cost() -> None:
    cost = ComputeCost(compute_s=0.5, audio_s=2.0, steps=4)
    summary = session(
        SessionMetrics(),
        "a",
        EndReason.SILENCE,
        cost,
        partial("a", 120),
        partial("a", 310),
        final("a"),
    )
    assert summary.as_fields() == {
        "session_id": "a",
        "reason": "silence",
        "wake_word": "hey_jarvis",
        "score": 0.94,
        "finals": 1,
        "partials": 2,
        "session_ms": 3000,
        "speech_ms": 2310,
        "max_lag_ms": 310,
        "first_draft_ms": 410,
        "first_committed_ms": 640,
        "finalize_ms": 180,
        "steps": 4,
        "compute_ms": 500,
        "audio_ms": 2000,
        "rtf": 0.25,
    }


def test_a_summary_never_holds_what_was_said() -> None:
    summary = session(
        SessionMetrics(), "a", EndReason.SILENCE, ComputeCost(), partial("a", 1), final("a")
    )
    assert "lights" not in str(summary)


def test_a_session_without_speech_has_no_latencies() -> None:
    fields = session(SessionMetrics(), "a", EndReason.NO_SPEECH, ComputeCost()).as_fields()
    assert not {"finalize_ms", "speech_ms", "rtf"} & fields.keys()


def test_totals_count_by_kind_of_ending() -> None:
    metrics = SessionMetrics()
    session(metrics, "a", EndReason.SILENCE, ComputeCost(1.0, 2.0, 1), final("a"))
    session(metrics, "b", EndReason.NO_SPEECH, ComputeCost())
    session(metrics, "c", EndReason.MIC_LOST, ComputeCost())
    totals = metrics.totals
    assert (totals.wakes, totals.sessions, totals.finals) == (3, 3, 1)
    assert (totals.no_speech, totals.failed) == (1, 1)
    assert totals.last_end_reason is EndReason.MIC_LOST


def test_an_end_of_another_session_closes_nothing() -> None:
    metrics = SessionMetrics()
    metrics.read(SessionStarted("a", None, 0))
    assert metrics.close(SessionEnded("b", EndReason.SILENCE, 0, 1), ComputeCost()) is None
    assert metrics.open_session_id == "a"


@pytest.mark.parametrize(("n", "expected"), [(1, 0.01), (20, 0.19), (100, 0.95), (300, 2.95)])
def test_the_95th_percentile_is_over_the_newest_hundred_sessions(n: int, expected: float) -> None:
    metrics = SessionMetrics()
    for number in range(1, n + 1):
        session(metrics, str(number), EndReason.SILENCE, ComputeCost(number / 100, 1.0, 1))
    assert metrics.totals.rtf_p95 == pytest.approx(expected)


def test_a_wake_word_left_to_another_device_is_counted() -> None:
    metrics = SessionMetrics()
    ours, theirs = (Claim(Stage.CLAIM, node, "s", "hey_jarvis", 0.9) for node in ("a", "b"))
    metrics.read(StoodDown(ours, theirs))
    assert metrics.totals.stood_down == 1


def test_the_timed_transcriber_counts_compute_audio_and_steps_and_starts_over() -> None:
    ticks = count()
    timed = TimedTranscriber(FakeTranscriber(words=[]), clock=lambda: float(next(ticks)))
    timed.start(wake_phrase=None)
    timed.feed(np.zeros(16_000, np.int16))
    timed.step()
    timed.step()
    timed.finish(within_s=0)
    timed.reset()
    assert timed.take() == ComputeCost(compute_s=6.0, audio_s=1.0, steps=2)
    assert timed.take() == ComputeCost()


def test_a_call_that_fails_counts_too() -> None:
    ticks = count()
    broken = FakeTranscriber(words=[], fails_at=("step", 1))
    timed = TimedTranscriber(broken, clock=lambda: float(next(ticks)))
    timed.start(wake_phrase=None)
    with pytest.raises(RuntimeError):
        timed.step()
    assert timed.take() == ComputeCost(compute_s=2.0, steps=1)


def test_the_timed_transcriber_passes_everything_on() -> None:
    transcriber = FakeTranscriber(words=[])
    timed = TimedTranscriber(transcriber)
    timed.start(wake_phrase="Hey Jarvis")
    timed.step()
    timed.finish(within_s=0)
    timed.reset()
    assert transcriber.calls == ["start", "step", "finish", "reset"]
    assert transcriber.wake_phrases == ["Hey Jarvis"]


def test_the_real_time_factor_of_no_audio_is_unknown() -> None:
    assert ComputeCost().rtf is None
    assert ComputeCost(compute_s=0.5, audio_s=2.0).rtf == 0.25
