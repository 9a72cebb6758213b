"""Encodes events as MQTT messages, and the retained description of the daemon."""

import math
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

from voice_daemon._lib.terminal import rfc3339
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import (
    ErrorRaised,
    Event,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
    State,
    StateChanged,
    StoodDown,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    Word,
)
from voice_daemon.mqtt.topics import SCHEMA, Leaf, MqttMessage, Topics, encode_json

PARTIAL_EXPIRY_S: Final = 2.0
"""The next partial replaces it sooner."""
WAKE_EXPIRY_S: Final = 10.0
"""A light or a lowered volume that a wake word sets off is absurd later."""
SESSION_EXPIRY_S: Final = 30.0
ERROR_EXPIRY_S: Final = 3600.0
"""A dated record for the owner, of use after an outage too."""

_SCORE_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Info:
    """Description of this node; retained on `info`."""

    version: str
    model: str
    wake_words: tuple[str, ...]
    input_device: str
    instance: str = ""
    """Another at each start: tells this process from a twin with the same configuration."""


@dataclass(frozen=True, slots=True)
class Health:
    """Counters since the start and gauges of now; retained on `health`.

    None, and a level of minus infinity (digital silence), become null.
    """

    uptime_s: int
    wakes: int
    sessions: int
    finals: int
    no_speech: int
    """Sessions in which nobody spoke: most of them false wakes."""
    failed: int
    """Sessions that ended in `overload`, `mic_lost` or `error`."""
    stood_down: int
    """Wake words that were left to another device."""
    finals_lost: int
    """Finals that never reached the broker."""
    finals_unconfirmed: int
    """Finals that may have reached it: sent, and never confirmed."""
    dropped_audio_ms: int
    mqtt_reconnects: int
    mqtt_dropped: int
    """Messages that never reached the broker, finals among them; partials are not counted."""
    rtf: float | None
    """95th percentile of compute time by audio time; None before the first session."""
    lag_ms: int
    level_dbfs: float | None
    memory_mb: int
    model_memory_mb: int
    threads: int
    mic_problem: str | None = None
    """The fault of the input, for people; None when there is none."""
    mic_remedy: str | None = None
    """What to do about it."""


def for_event(
    event: Event, *, topics: Topics, at: datetime, final_ttl_s: float = 30.0
) -> tuple[MqttMessage, ...]:
    """Give what `event` says on MQTT: one message, or none for what stays inside.

    `at` is the event's time, with its zone; `final_ttl_s` is how long a final may wait.
    """
    match event:
        case StateChanged():
            return (state_message(event.state, topics=topics),)
        case WakeDetected():
            leaf, body, expiry_s = Leaf.WAKE, _wake(event), WAKE_EXPIRY_S
        case SessionStarted():
            leaf, body, expiry_s = Leaf.SESSION, _started(event), SESSION_EXPIRY_S
        case SessionEnded():
            leaf, body, expiry_s = Leaf.SESSION, _ended(event), SESSION_EXPIRY_S
        case TranscriptPartial():
            leaf, body, expiry_s = Leaf.PARTIAL, _partial(event), PARTIAL_EXPIRY_S
        case TranscriptFinal():
            leaf, body, expiry_s = Leaf.FINAL, _final(event), final_ttl_s
        case ErrorRaised():
            leaf, body, expiry_s = Leaf.ERROR, _error(event), ERROR_EXPIRY_S
        case SpeechStarted() | SpeechEnded() | StoodDown():
            return ()
    payload = encode_json({"schema": SCHEMA, **body, "at": rfc3339(at, "milliseconds")})
    qos = 0 if leaf is Leaf.PARTIAL else 1
    final_of = event.session_id if isinstance(event, TranscriptFinal) else None
    return (MqttMessage(topics.path(leaf), payload, qos, expiry_s=expiry_s, final_of=final_of),)


def error_event(error: VoiceDaemonError) -> ErrorRaised:
    """Turn a caught error into the event that reports it."""
    return ErrorRaised(error.code, error.message, error.remedy)


def availability(topics: Topics, *, online: bool) -> MqttMessage:
    """Give the retained `online` or `offline`; the latter is also the will."""
    payload = b"online" if online else b"offline"
    return MqttMessage(topics.path(Leaf.AVAILABILITY), payload, retain=True)


def state_message(state: State, *, topics: Topics) -> MqttMessage:
    """Give the retained state, a bare word."""
    return MqttMessage(topics.path(Leaf.STATE), state.value.encode(), retain=True)


def setting_message(name: str, value: float | str, *, topics: Topics) -> MqttMessage:
    """Give the retained value in force of a setting; a flag is `ON` or `OFF`."""
    text = ("ON" if value else "OFF") if isinstance(value, bool) else str(value)
    return MqttMessage(topics.setting_state(name), text.encode(), retain=True)


def info_message(info: Info, *, topics: Topics) -> MqttMessage:
    """Give the retained description of this node."""
    payload = encode_json({"schema": SCHEMA, **asdict(info)})
    return MqttMessage(topics.path(Leaf.INFO), payload, retain=True)


def health_message(health: Health, *, topics: Topics, at: datetime) -> MqttMessage:
    """Give the retained counters and gauges, in the order of `Health`."""
    body = {field.name: _json_value(getattr(health, field.name)) for field in fields(health)}
    payload = encode_json({"schema": SCHEMA, **body, "at": rfc3339(at, "milliseconds")})
    return MqttMessage(topics.path(Leaf.HEALTH), payload, qos=0, retain=True)


def _wake(event: WakeDetected) -> dict[str, Any]:
    return {
        "event_type": "detected",
        "session_id": event.session_id,
        "wake_word": event.wake_word,
        "score": _json_value(event.score),
        "verified": event.verified,
    }


def _started(event: SessionStarted) -> dict[str, Any]:
    return {
        "event_type": "started",
        "session_id": event.session_id,
        "wake_word": event.wake_word,
    }


def _ended(event: SessionEnded) -> dict[str, Any]:
    return {
        "event_type": "ended",
        "session_id": event.session_id,
        "reason": event.reason.value,
        "finals": event.finals,
    }


def _partial(event: TranscriptPartial) -> dict[str, Any]:
    return {
        "event_type": "partial",
        "session_id": event.session_id,
        "seq": event.seq,
        "text": event.text,
        "draft": event.draft,
        "is_final": False,
        "language": event.language,
        "audio_ms": event.audio_ms,
        "lag_ms": event.lag_ms,
    }


def _final(event: TranscriptFinal) -> dict[str, Any]:
    optional = {
        name: value
        for name in ("heard", "in_vocabulary", "handled_by")
        if (value := getattr(event, name)) is not None
    }
    return {
        "event_type": "final",
        "session_id": event.session_id,
        "seq": event.seq,
        "text": event.text,
        "is_final": True,
        "revised": event.revised,
        **optional,
        "language": event.language,
        "end_reason": event.end_reason.value,
        "duration_ms": event.duration_ms,
        "wake_word": event.wake_word,
        "confidence": _json_value(event.confidence),
        "no_speech_prob": _json_value(event.no_speech_prob),
        "words": [_word(word) for word in event.words],
        "timing": asdict(event.timing),
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "text": word.text,
        "start_ms": round(word.start_s * 1000),
        "end_ms": round(word.end_s * 1000),
    }


def _error(event: ErrorRaised) -> dict[str, Any]:
    return {"event_type": "error", **asdict(event)}


def _json_value(value: float | str | None) -> float | str | None:
    """Round fractions to what their meaning carries; what JSON cannot hold becomes null."""
    if not isinstance(value, float):
        return value
    return round(value, _SCORE_DIGITS) if math.isfinite(value) else None
