"""Publishes events, state, problems and settings of the daemon, and logs them.

It keeps the promise that every `started` gets one `ended`, and that a daemon with a problem is
never reported as idle or listening. Callable from any thread.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

import structlog

from voice_daemon.errors import Problem
from voice_daemon.events import (
    EndReason,
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
    samples_to_ms,
)
from voice_daemon.mqtt.messages import Info, for_event, info_message, setting_message, state_message
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.session.metrics import ComputeCost, SessionMetrics, Totals

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon as it was last announced."""

    state: State
    muted: bool
    session_id: str | None
    totals: Totals
    problems: Mapping[str, Problem]
    """Problems by code, oldest first."""
    last_wake_at: str | None
    """RFC 3339 UTC."""
    wake_threshold: float
    wake_words: tuple[str, ...]
    model: str
    """Name of the recogniser."""


class Publisher:
    """Turns events into messages for `publish`, which must not wait; callable from any thread."""

    def __init__(
        self,
        *,
        publish: Callable[[MqttMessage], None],
        topics: Topics,
        info: Info,
        settings: Mapping[str, float | str],
        final_ttl_s: float,
        on_event: Callable[[Event], None] = lambda _: None,
        on_input: Callable[[str], None] = lambda _: None,
        take_over: Callable[[TranscriptFinal], str | None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Start silent. `settings`: what is in force and retained on `<name>/state`, by name.

        `take_over` may carry a final out; it returns who does, None where nobody does.
        """
        self._publish = publish
        self._topics = topics
        self._info = info
        self._settings = dict(settings)
        self._final_ttl_s = final_ttl_s
        self._on_event = on_event
        self._on_input = on_input
        self._take_over = take_over
        self._now = now
        # Reentrant: whoever is told of an event may report an error on the spot.
        self._lock = threading.RLock()
        self._metrics = SessionMetrics()
        self._pipeline_state = State.IDLE
        self._ready = False
        self._closed = False
        self._problems: dict[str, Problem] = {}
        self._state = State.STARTING
        self._last_wake_at: str | None = None

    def snapshot(self) -> Snapshot:
        """Take a consistent snapshot."""
        with self._lock:
            return Snapshot(
                state=self._state,
                muted=self._pipeline_state is State.MUTED,
                session_id=self._metrics.open_session_id,
                totals=self._metrics.totals,
                problems=MappingProxyType(dict(self._problems)),
                last_wake_at=self._last_wake_at,
                wake_threshold=float(self._settings["wake_threshold"]),
                wake_words=self._info.wake_words,
                model=self._info.model,
            )

    def retained(self) -> list[MqttMessage]:
        """Give what a broker that may have forgotten everything must be told, after `online`."""
        with self._lock:
            return [
                info_message(self._info, topics=self._topics),
                state_message(self._state, topics=self._topics),
                *(
                    setting_message(name, value, topics=self._topics)
                    for name, value in self._settings.items()
                ),
            ]

    def events(self, events: Iterable[Event], take_cost: Callable[[], ComputeCost]) -> None:
        """Publish the pipeline's events in order; `take_cost` gives an ended session's cost."""
        with self._lock:
            if self._closed:
                return
            for event in events:
                self._event(event, take_cost)

    def ready(self) -> None:
        """Take note that the daemon can do its work: `starting` ends."""
        with self._lock:
            self._ready = True
            self._update_state()

    def input_changed(self, device: str) -> None:
        """Publish the name of the input that is in use."""
        with self._lock:
            self._info = replace(self._info, input_device=device)
            self._publish(info_message(self._info, topics=self._topics))
        self._on_input(device)

    def wake_words_changed(self, wake_words: tuple[str, ...]) -> None:
        """Publish the names of what is listened for."""
        with self._lock:
            self._info = replace(self._info, wake_words=wake_words)
            self._publish(info_message(self._info, topics=self._topics))

    def setting(self, name: str, value: float | str) -> None:
        """Publish a setting's value in force."""
        with self._lock:
            self._settings[name] = value
            self._publish(setting_message(name, value, topics=self._topics))

    def raise_problem(self, code: str, problem: Problem) -> None:
        """Report a problem, once for as long as it lasts; the state becomes `degraded`."""
        with self._lock:
            is_new = code not in self._problems
            self._problems[code] = problem
            if is_new:
                log.error("problem.raised", code=code, problem=problem.message)
                self._send(ErrorRaised(code, problem.message, problem.remedy))
                self._update_state()

    def clear_problem(self, code: str) -> None:
        """Take back a problem that is over."""
        with self._lock:
            if self._problems.pop(code, None) is not None:
                log.info("problem.cleared", code=code)
                self._update_state()

    def set_problem(self, code: str, problem: Problem | None) -> None:
        """Report a problem, or take it back: None."""
        if problem is None:
            self.clear_problem(code)
        else:
            self.raise_problem(code, problem)

    def error(self, error: ErrorRaised) -> None:
        """Publish an error that is no lasting problem."""
        with self._lock:
            self._send(error)

    def close(self, reason: EndReason) -> None:
        """End the open session in the pipeline's name; nothing it says afterwards is published.

        For a worker that died or does not answer. Harmless when no session is open.
        """
        with self._lock:
            session_id = self._metrics.open_session_id
            if session_id is not None and not self._closed:
                self._send(
                    ErrorRaised(
                        "session.command_lost",
                        "the daemon stopped in the middle of a command",
                        "say it again once the daemon runs",
                        session_id,
                    )
                )
                # Where it ended only the pipeline would know, and that one is gone.
                started_at = self._metrics.open_started_at
                self._event(SessionEnded(session_id, reason, 0, started_at), ComputeCost)
            self._closed = True

    def _event(self, event: Event, take_cost: Callable[[], ComputeCost]) -> None:
        self._metrics.read(event)
        self._on_event(event)
        _log_event(event, session_began=self._metrics.open_started_at)
        match event:
            case StateChanged():
                self._pipeline_state = event.state
                self._update_state()
                return
            case TranscriptFinal():
                # Before it is sent: who hears of it must know that it is carried out already.
                event = replace(event, handled_by=self._take_over(event))
            case WakeDetected():
                self._last_wake_at = self._now().isoformat(timespec="seconds")
            case SessionEnded():
                summary = self._metrics.close(event, take_cost())
                if summary is not None:
                    log.info("session.done", **summary.as_fields())
            case _:
                pass
        self._send(event)

    def _update_state(self) -> None:
        """Publish the state when it is another than before."""
        if not self._ready:
            state = State.STARTING
        elif any(problem.part != "log" for problem in self._problems.values()):
            state = State.DEGRADED
        else:
            state = self._pipeline_state
        if state is not self._state:
            self._state = state
            self._publish(state_message(state, topics=self._topics))

    def _send(self, event: Event) -> None:
        for message in for_event(
            event, topics=self._topics, at=self._now(), final_ttl_s=self._final_ttl_s
        ):
            self._publish(message)


def _log_event(event: Event, *, session_began: int) -> None:
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
