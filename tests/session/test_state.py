from __future__ import annotations

import pytest

from voice_daemon.errors import VoiceDaemonError
from voice_daemon.events import EndReason, State
from voice_daemon.session.state import TRANSITIONS, Trigger, next_state


def test_a_wake_word_a_command_and_silence_lead_back_to_idle() -> None:
    state = State.IDLE
    seen = []
    for cause in (Trigger.WAKE, Trigger.SPEECH, EndReason.SILENCE):
        state = next_state(state, cause)
        seen.append(state)
    assert seen == [State.LISTENING, State.TRANSCRIBING, State.IDLE]


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (State.MUTED, Trigger.WAKE),
        (State.MUTED, Trigger.LISTEN),
        (State.IDLE, Trigger.SPEECH),
        (State.IDLE, EndReason.SILENCE),
        (State.LISTENING, EndReason.SILENCE),
        (State.TRANSCRIBING, Trigger.WAKE),
        (State.STARTING, Trigger.WAKE),
    ],
)
def test_what_is_not_in_the_table_raises_and_names_both(state: State, cause: Trigger) -> None:
    with pytest.raises(VoiceDaemonError, match=f"'{cause}' in the state '{state}'") as raised:
        next_state(state, cause)
    assert raised.value.code == "session.transition"


def test_every_reason_can_end_some_session() -> None:
    assert {cause for _, cause in TRANSITIONS} >= set(EndReason)


@pytest.mark.parametrize("state", [State.LISTENING, State.TRANSCRIBING])
def test_muting_ends_an_open_session_without_passing_through_idle(state: State) -> None:
    assert next_state(state, EndReason.MUTED) is State.MUTED


def test_the_whole_daemons_states_are_not_in_the_table() -> None:
    states = {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values())
    assert states == {State.IDLE, State.LISTENING, State.TRANSCRIBING, State.MUTED}
