"""Final transcripts, for tests that need a whole one and care for a field or two of it."""

from __future__ import annotations

from dataclasses import replace

from voice_daemon.events import EndReason, Timing, TranscriptFinal, Word

FINAL = TranscriptFinal(
    session_id="s1",
    seq=9,
    text="Schalte das Küchenlicht ein.",
    revised=True,
    language="de",
    end_reason=EndReason.SILENCE,
    duration_ms=2310,
    wake_word="hey_jarvis",
    confidence=0.9104,
    no_speech_prob=0.0199,
    timing=Timing(first_draft_ms=410, first_committed_ms=None, finalize_ms=180),
    words=(Word("Schalte", 0.1203, 0.31),),
)
"""Every field says something; the documents of golden/ hold it."""


def final_of(session_id: str, text: str = "Turn on the kitchen lights.") -> TranscriptFinal:
    """The final of another session; all that is not said here is that of `FINAL`."""
    return replace(FINAL, session_id=session_id, text=text)
