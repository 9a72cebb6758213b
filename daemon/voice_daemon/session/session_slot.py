"""The place for the one session that may be open, and what is told of it from start to end.

Owns the state that the daemon is in by it, and the events until they are taken. Knows nothing of
audio, wake words, other devices or options: it is told what opens, what is said and what ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voice_daemon.events import (
    EndReason,
    ErrorRaised,
    SessionEnded,
    SessionStarted,
    SpeechStarted,
    State,
    StateChanged,
)
from voice_daemon.session.options import TranscriberError, transcribing
from voice_daemon.session.state import Cause, Trigger, next_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from voice_daemon.events import Event
    from voice_daemon.session.options import Tally, Transcriber
    from voice_daemon.session.session import OpenSession

_LOSSES = {
    EndReason.MIC_LOST: (
        "the microphone was lost in the middle of a command",
        "check the microphone, then say it again",
    ),
    EndReason.OVERLOAD: (
        "recognition fell too far behind in the middle of a command",
        "choose a smaller asr.model or a longer asr.step_s, then say it again",
    ),
    EndReason.SHUTDOWN: (
        "the daemon stopped in the middle of a command",
        "say it again once the daemon runs",
    ),
}
"""Endings that lose a command against the speaker's will: what to say, and what to do."""


class SessionSlot:
    """Holds a session or none. What happens waits as events until it is `taken`."""

    def __init__(self, transcriber: Transcriber, tally: Tally) -> None:
        self._transcriber = transcriber
        self._tally = tally
        self._events: list[Event] = []
        self.state = State.IDLE
        self.session: OpenSession | None = None
        self.last_fault: TranscriberError | None = None
        """The newest failure of the recogniser, with its cause."""

    @property
    def session_id(self) -> str | None:
        """The open session, if there is one."""
        return None if self.session is None else self.session.opening.session_id

    def open(self, session: OpenSession) -> None:
        """Put a session in; there must be none."""
        opening = session.opening
        self._tally.add(sessions=1)
        self.session = session
        self.emit(SessionStarted(opening.session_id, opening.wake_word, opening.at_sample))
        self.move(Trigger.LISTEN if opening.wake_word is None else Trigger.WAKE)

    def pass_on(self, events: Iterable[Event]) -> None:
        """Emit what the session has to say."""
        for event in events:
            self.emit(event)
            if isinstance(event, SpeechStarted):
                self.move(Trigger.SPEECH)

    def close(self, reason: EndReason, *, heard_to: int) -> None:
        """End the session, if there is one, and let the recogniser forget it."""
        session, self.session = self.session, None
        if session is None:
            return
        session_id = session.opening.session_id
        if session.command_open and reason in _LOSSES:
            message, remedy = _LOSSES[reason]
            self.emit(ErrorRaised("session.command_lost", message, remedy, session_id))
        self._tally.add(finals=session.finals)
        self._tally.end(reason)
        self.emit(SessionEnded(session_id, reason, session.finals, heard_to))
        try:
            with transcribing():
                self._transcriber.reset()
        except TranscriberError as fault:
            self.report(fault)
        self.move(reason)

    def report(self, fault: TranscriberError) -> None:
        """Tell of a failure of the recogniser."""
        self.last_fault = fault
        self._tally.add(transcriber_faults=1)
        self.emit(ErrorRaised(fault.code, fault.message, fault.remedy, self.session_id))

    def move(self, cause: Cause) -> None:
        """Go to the state that follows; raises `TransitionError` when none does."""
        self.state = next_state(self.state, cause)
        self.emit(StateChanged(self.state))

    def emit(self, event: Event) -> None:
        """Add an event to those that wait."""
        self._events.append(event)

    def taken(self) -> list[Event]:
        """Give the events that wait, once."""
        events, self._events = self._events, []
        return events
