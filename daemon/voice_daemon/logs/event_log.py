"""Logs the pipeline's events; `daemonctl logs --session` makes a timeline of them."""

import structlog

from voice_daemon.events import (
    ErrorRaised,
    Event,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    StoodDown,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    samples_to_ms,
)

log = structlog.get_logger()


def log_event(event: Event, *, session_began: int) -> None:
    """Log an event; `session_began`: the sample at which the open session did."""
    match event:
        case WakeDetected():
            score = round(event.score, 3)
            about = {"wake_word": event.wake_word, "score": score, "session_id": event.session_id}
            log.info("wake.detected", **about, verified=event.verified)
        case SessionStarted():
            log.info("session.started", session_id=event.session_id, wake_word=event.wake_word)
        case SpeechStarted() | SpeechEnded():
            log.info(
                "speech.started" if isinstance(event, SpeechStarted) else "speech.ended",
                session_id=event.session_id,
                session_ms=samples_to_ms(event.at_sample - session_began),
            )
        case TranscriptPartial():
            log.debug(
                "transcript.partial",
                session_id=event.session_id,
                seq=event.seq,
                lag_ms=event.lag_ms,
                text=event.text,
                draft=event.draft,
            )
        case TranscriptFinal():
            log.info(
                "transcript.final",
                session_id=event.session_id,
                confidence=round(event.confidence, 3),
                text=event.text,
            )
        case StoodDown():
            log.info(
                "arbitration.stood_down",
                session_id=event.claim.session_id,
                wake_word=event.claim.wake_word,
                score=event.claim.score,
                node_id=event.winner.node_id,
                their_score=event.winner.score,
            )
        case ErrorRaised():
            about = {"code": event.code, "problem": event.message, "session_id": event.session_id}
            log.error("error.raised", **about)
        case _:
            pass
