"""Totals and summaries of sessions, from events alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.transcripts import final_of
from voice_daemon.events import (
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    Timing,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
)
from voice_daemon.session.metrics import ComputeCost, SessionMetrics, Summary


def partial(session_id: str, lag_ms: int) -> TranscriptPartial:
    return TranscriptPartial(session_id, 1, "turn", " on", "en", 900, lag_ms)


def final(session_id: str) -> TranscriptFinal:
    timing = Timing(first_draft_ms=410, first_committed_ms=640, finalize_ms=180)
    return replace(final_of(session_id), timing=timing)


def session(
    ledger: SessionMetrics, session_id: str, reason: EndReason, effort: ComputeCost, *between: Event
) -> Summary:
    """Put one session through `ledger` and give its summary."""
    opening: tuple[Event, ...] = (
        WakeDetected(session_id, "hey_jarvis", 0.94, 16_000),
        SessionStarted(session_id, "hey_jarvis", 16_000),
    )
    for event in (*opening, *between):
        ledger.read(event)
    finals = sum(isinstance(event, TranscriptFinal) for event in between)
    ended = SessionEnded(session_id, reason, finals, 64_000)
    ledger.read(ended)
    summary = ledger.close(ended, effort)
    assert summary is not None
    return summary


def test_a_summary_holds_reason_latencies_lengths_and_cost() -> None:
    effort = ComputeCost(compute_s=0.5, audio_s=2.0, steps=4)
    summary = session(
        SessionMetrics(),
        "a",
        EndReason.SILENCE,
        effort,
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
    ledger = SessionMetrics()
    session(ledger, "a", EndReason.SILENCE, ComputeCost(1.0, 2.0, 1), final("a"))
    session(ledger, "b", EndReason.NO_SPEECH, ComputeCost())
    session(ledger, "c", EndReason.MIC_LOST, ComputeCost())
    totals = ledger.totals
    assert (totals.wakes, totals.sessions, totals.finals) == (3, 3, 1)
    assert (totals.no_speech, totals.failed) == (1, 1)
    assert totals.last_end_reason is EndReason.MIC_LOST


def test_an_end_of_another_session_closes_nothing() -> None:
    ledger = SessionMetrics()
    ledger.read(SessionStarted("a", None, 0))
    assert ledger.close(SessionEnded("b", EndReason.SILENCE, 0, 1), ComputeCost()) is None
    assert ledger.open_session_id == "a"


@pytest.mark.parametrize(("n", "expected"), [(1, 0.01), (20, 0.19), (100, 0.95), (300, 2.95)])
def test_the_95th_percentile_is_over_the_newest_hundred_sessions(n: int, expected: float) -> None:
    ledger = SessionMetrics()
    for number in range(1, n + 1):
        session(ledger, str(number), EndReason.SILENCE, ComputeCost(number / 100, 1.0, 1))
    assert ledger.totals.rtf_p95 == pytest.approx(expected)
