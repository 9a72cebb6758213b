"""The state table: each state and cause that go together, and the state that follows.

`STARTING` and `DEGRADED` describe the whole daemon and are not in the table.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import EndReason, State


class Trigger(StrEnum):
    """Moves the daemon between states, as the end of a session does."""

    WAKE = "wake"
    LISTEN = "listen"
    SPEECH = "speech"
    MUTE = "mute"
    UNMUTE = "unmute"


Cause = Trigger | EndReason
"""A trigger, or the reason for which a session ended."""


class TransitionError(VoiceDaemonError):
    """Something happened in a state in which it cannot happen: a fault in the caller."""


_INTERRUPTIONS: dict[Cause, State] = {
    EndReason.CANCELLED: State.IDLE,
    EndReason.MIC_LOST: State.IDLE,
    EndReason.OVERLOAD: State.IDLE,
    EndReason.SHUTDOWN: State.IDLE,
    EndReason.ERROR: State.IDLE,
    EndReason.MUTED: State.MUTED,
}
"""Reasons that may end any open session, and the state after each."""

_TABLE: dict[State, dict[Cause, State]] = {
    State.IDLE: {
        Trigger.WAKE: State.LISTENING,
        Trigger.LISTEN: State.LISTENING,
        Trigger.MUTE: State.MUTED,
    },
    State.LISTENING: {
        Trigger.SPEECH: State.TRANSCRIBING,
        EndReason.NO_SPEECH: State.IDLE,
        **_INTERRUPTIONS,
    },
    State.TRANSCRIBING: {
        EndReason.SILENCE: State.IDLE,
        EndReason.MAX_LENGTH: State.IDLE,
        # Voice that turned out to hold no words, or a wake word said again and nothing after it.
        EndReason.NO_SPEECH: State.IDLE,
        **_INTERRUPTIONS,
    },
    State.MUTED: {
        Trigger.UNMUTE: State.IDLE,
    },
}

TRANSITIONS: Mapping[tuple[State, Cause], State] = MappingProxyType(
    {(state, cause): after for state, row in _TABLE.items() for cause, after in row.items()}
)
"""(state, cause) -> the next state. Anything else cannot happen."""


def next_state(state: State, cause: Cause) -> State:
    """Return the state that follows; raise `TransitionError` for what is not in the table."""
    try:
        return TRANSITIONS[state, cause]
    except KeyError:
        raise TransitionError(
            "session.transition",
            f"nothing follows from '{cause}' in the state '{state}'",
            remedy="this is a fault in voice-daemon: please report it with the log",
        ) from None
