"""Rhasspy's Hermes protocol: what the daemon says in it, and what it is asked in it.

To Rhasspy this node is the wake word and the speech recogniser of one site, whose id is the
node's. `Hermes` keeps which Hermes session the open session belongs to. Knows nothing of
connections or of what commands do; state, settings and errors stay in the native form.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from voice_daemon.events import (
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    Word,
)
from voice_daemon.mqtt import messages
from voice_daemon.mqtt.commands import Command, Kind
from voice_daemon.mqtt.topics import MqttMessage, Topics, encode_json

START_LISTENING: Final = "hermes/asr/startListening"
STOP_LISTENING: Final = "hermes/asr/stopListening"
TEXT_CAPTURED: Final = "hermes/asr/textCaptured"
SESSION_STARTED: Final = "hermes/dialogueManager/sessionStarted"
SESSION_ENDED: Final = "hermes/dialogueManager/sessionEnded"
SWITCHES: Final = {
    "hermes/asr/toggleOff": "ON",
    "hermes/asr/toggleOn": "OFF",
    "hermes/hotword/toggleOff": "ON",
    "hermes/hotword/toggleOn": "OFF",
}
"""Topic -> what it makes of `mute`."""
FILTERS: Final = (START_LISTENING, STOP_LISTENING, *SWITCHES)
"""What to subscribe to; every site of a home speaks on these."""

MAX_BYTES: Final = 16_384
"""A list of intents may come along; more than this is no request to listen."""
REQUEST_LIFE_S: Final = 5.0
"""A session that opens later than this is not the one that was asked for."""
ORIGIN: Final = "voice-daemon"
"""Marks what we say on topics that we listen to: the broker sends it back to us, maybe late."""
DEFAULT_SITE: Final = "default"
"""The site that is meant where none is named."""

_NOT_IN_A_TOPIC = re.compile(r"[+#/\x00]")
_DIGITS = 3
_TERMINATIONS: Final = {
    EndReason.SILENCE: "nominal",
    EndReason.MAX_LENGTH: "nominal",
    EndReason.NO_SPEECH: "timeout",
    EndReason.CANCELLED: "abortedByUser",
    EndReason.MUTED: "abortedByUser",
}
"""Every other reason is an error."""


@dataclass(slots=True)
class _Open:
    """The session that is open."""

    session_id: str
    hermes_id: str
    """What Hermes calls it."""
    wake_word: str | None
    is_led: bool
    """True when a dialogue manager leads it: it announces the session, and awaits an answer."""
    is_stopping: bool = False


class Hermes:
    """One site. Callable from any thread; `clock_s` runs steadily."""

    filters = FILTERS

    def __init__(self, topics: Topics, clock_s: Callable[[], float]) -> None:
        self._site = topics.node
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._open: _Open | None = None
        self._requested: tuple[str, float] | None = None
        """The Hermes session that asked to listen, and when."""

    def for_event(
        self, event: Event, *, topics: Topics, at: datetime, final_ttl_s: float = 30.0
    ) -> tuple[MqttMessage, ...]:
        """Give what `event` says in Hermes, in the place of `messages.for_event`."""
        with self._lock:
            match event:
                case WakeDetected():
                    return (self._detected(event),)
                case SessionStarted():
                    return self._started(event)
                case SessionEnded():
                    return self._ended(event, final_ttl_s)
                case TranscriptFinal():
                    return (self._captured(event, final_ttl_s),)
                case TranscriptPartial():
                    return ()
        return messages.for_event(event, topics=topics, at=at, final_ttl_s=final_ttl_s)

    def command(self, topic: str, payload: bytes) -> Command | None:
        """Read a message as a command; None for one that asks nothing of this site."""
        request = _read(payload)
        if request is None or request.get("siteId", DEFAULT_SITE) != self._site:
            return None
        if request.get("origin") == ORIGIN:
            return None
        session = request.get("sessionId")
        hermes_id = session if isinstance(session, str) else ""
        with self._lock:
            if topic == START_LISTENING:
                return self._start(hermes_id)
            if topic == STOP_LISTENING:
                return self._stop(hermes_id)
        # With a reason it is about a sound or a dialogue that passes: wake words within a
        # session are ignored anyway, and the command that is being spoken must not be lost.
        if topic in SWITCHES and not request.get("reason"):
            return Command("mute", value=SWITCHES[topic], kind=Kind.SETTING)
        return None

    def _start(self, hermes_id: str) -> Command | None:
        """Take a request to listen; the session that is open answers it if it can."""
        if self._open is None or self._open.is_stopping:
            self._requested = (hermes_id, self._clock_s())
            return Command("listen")
        if hermes_id:
            self._open.hermes_id = hermes_id
            self._open.is_led = True
        return None

    def _stop(self, hermes_id: str) -> Command | None:
        """Take a request to stop; one about a session that is over is no news."""
        if self._requested is not None and hermes_id in {"", self._requested[0]}:
            self._requested = None
            return Command("cancel")
        if self._open is None:
            return None
        if hermes_id not in {"", self._open.hermes_id, self._open.session_id}:
            return None
        self._open.is_stopping = True
        return Command("cancel")

    def _detected(self, event: WakeDetected) -> MqttMessage:
        body = {
            "modelId": event.wake_word,
            "modelVersion": "",
            "modelType": "universal",
            "currentSensitivity": 1.0,
            "siteId": self._site,
            "sessionId": event.session_id,
            "sendAudioCaptured": False,
            "lang": None,
        }
        topic = f"hermes/hotword/{_wakeword_id(event.wake_word)}/detected"
        return MqttMessage(topic, encode_json(body), expiry_s=messages.WAKE_EXPIRY_S)

    def _started(self, event: SessionStarted) -> tuple[MqttMessage, ...]:
        requested = self._take_request() if event.wake_word is None else ""
        hermes_id = requested or event.session_id
        self._open = _Open(event.session_id, hermes_id, event.wake_word, is_led=bool(requested))
        if self._open.is_led:
            return ()
        session = {"siteId": self._site, "sessionId": hermes_id}
        started = {**session, "customData": None, "lang": None}
        listening = {
            **session,
            "lang": None,
            "stopOnSilence": True,
            "sendAudioCaptured": False,
            "wakewordId": event.wake_word and _wakeword_id(event.wake_word),
            "intentFilter": None,
            "origin": ORIGIN,
        }
        return (_about(SESSION_STARTED, started), _about(START_LISTENING, listening))

    def _take_request(self) -> str:
        """Give the Hermes session that asked for the one that opens now; empty when none did."""
        requested, self._requested = self._requested, None
        if requested is None or self._clock_s() - requested[1] > REQUEST_LIFE_S:
            return ""
        return requested[0]

    def _ended(self, event: SessionEnded, final_ttl_s: float) -> tuple[MqttMessage, ...]:
        opened, self._open = self._open, None
        if opened is None:
            return ()
        session = {"siteId": self._site, "sessionId": opened.hermes_id}
        if opened.is_led:
            # A dialogue manager waits for its answer, with the wake word switched off.
            return () if event.finals else (self._nothing_captured(opened, final_ttl_s),)
        termination = {"reason": _TERMINATIONS.get(event.reason, "error")}
        ended = {"termination": termination, **session, "customData": None}
        stopped = {**session, "origin": ORIGIN}
        return (_about(STOP_LISTENING, stopped), _about(SESSION_ENDED, ended))

    def _captured(self, event: TranscriptFinal, final_ttl_s: float) -> MqttMessage:
        known = self._open is not None and self._open.session_id == event.session_id
        body = {
            "text": event.text,
            "likelihood": _probability(event.confidence),
            "seconds": event.timing.finalize_ms / 1000,
            "siteId": self._site,
            "sessionId": self._open.hermes_id if self._open and known else event.session_id,
            "wakewordId": event.wake_word and _wakeword_id(event.wake_word),
            "asrTokens": [_tokens(event)],
            "lang": event.language,
        }
        return MqttMessage(
            TEXT_CAPTURED, encode_json(body), expiry_s=final_ttl_s, final_of=event.session_id
        )

    def _nothing_captured(self, opened: _Open, final_ttl_s: float) -> MqttMessage:
        body = {
            "text": "",
            "likelihood": 0.0,
            "seconds": 0.0,
            "siteId": self._site,
            "sessionId": opened.hermes_id,
            "wakewordId": opened.wake_word and _wakeword_id(opened.wake_word),
            "asrTokens": None,
            "lang": None,
        }
        return MqttMessage(TEXT_CAPTURED, encode_json(body), expiry_s=final_ttl_s)


def _read(payload: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else, which may be another site's business."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _wakeword_id(wake_word: str) -> str:
    """Give a wake word's name as one level of a topic."""
    return _NOT_IN_A_TOPIC.sub("_", wake_word)


def _probability(value: float) -> float:
    return round(value, _DIGITS) if math.isfinite(value) else 0.0


def _about(topic: str, body: dict[str, Any]) -> MqttMessage:
    return MqttMessage(topic, encode_json(body), expiry_s=messages.SESSION_EXPIRY_S)


def _tokens(final: TranscriptFinal) -> list[dict[str, Any]]:
    """Give the words with their places in the text; one that is not found there is left out."""
    tokens, end = [], 0
    for word in final.words:
        start = final.text.find(word.text, end)
        if start >= 0:
            end = start + len(word.text)
            tokens.append(_token(word, start, end, final.confidence))
    return tokens


def _token(word: Word, start: int, end: int, confidence: float) -> dict[str, Any]:
    return {
        "value": word.text,
        "confidence": _probability(confidence),
        "rangeStart": start,
        "rangeEnd": end,
        "time": {"start": round(word.start_s, _DIGITS), "end": round(word.end_s, _DIGITS)},
    }
