"""A pipeline among other devices: who answers, and that nobody notices the wait."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from support.fakes import WAKE_WORD, Rig, Scene
from support.scenes import COMMAND, continuous, of, paused, reasons, states
from voice_daemon.events import (
    Claim,
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    Stage,
    State,
    StoodDown,
    TranscriptFinal,
    TranscriptPartial,
    WakeDetected,
    ms_to_samples,
)
from voice_daemon.session.pipeline import PipelineOptions
from voice_daemon.wake.arbitration import Participation

WINDOW_MS = 150


@dataclass
class Others:
    """The other devices: what they say, by the sample at which it arrives."""

    rig: Rig
    say: dict[int, Claim] = field(default_factory=dict)
    of_this_device: Participation = Participation.FULL
    told: list[Claim] = field(default_factory=list)

    def send(self, claim: Claim) -> None:
        """Tell the broker, which sends it back to us too."""
        self.told.append(claim)
        self.say[self.rig.clock.now + 1] = claim

    def participation(self) -> Participation:
        return self.of_this_device

    def receive(self) -> list[tuple[Claim, float]]:
        due = [at for at in sorted(self.say) if at <= self.rig.clock.now]
        return [(self.say.pop(at), 0) for at in due]


def other(stage: Stage = Stage.CLAIM, *, score: float = 0.99, word: str = WAKE_WORD) -> Claim:
    return Claim(stage, "other", "their-session", word, score)


def contending(
    scene: Scene, *, participation: Participation = Participation.FULL, window_ms: float = WINDOW_MS
) -> tuple[Rig, Others]:
    rig = Rig(scene, options=PipelineOptions(arbitration_ms=window_ms))
    others = Others(rig, of_this_device=participation)
    rig.pipeline.arbitrate("me", others)
    return rig, others


def told(others: Others) -> list[tuple[Stage, str]]:
    return [(claim.stage, claim.session_id) for claim in others.told]


def after_wake(scene: Scene, ms: float) -> int:
    return scene.wakes[0] + ms_to_samples(ms)


def untimed(events: list[Event]) -> list[Event]:
    """The events without the times by which they are late: the wait is over in all others."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, TranscriptPartial):
            found.append(replace(event, lag_ms=0))
        elif isinstance(event, TranscriptFinal):
            timing = replace(event.timing, first_draft_ms=None, first_committed_ms=None)
            found.append(replace(event, timing=timing))
        else:
            found.append(event)
    return found


@pytest.mark.parametrize("window_ms", [20, 150, 400])
@pytest.mark.parametrize("make", [continuous, paused, lambda: paused(pause_ms=100)])
def test_a_session_that_is_won_is_as_if_nobody_had_waited(
    make: type[Scene], window_ms: float
) -> None:
    alone = Rig(make()).play()
    rig, others = contending(make(), window_ms=window_ms)
    events = rig.play()
    assert untimed(events) == untimed(alone)
    assert told(others) == [(Stage.CLAIM, "session-1"), (Stage.TAKEN, "session-1")]
    assert [final.text for final in of(TranscriptFinal, events)] == [COMMAND]


def test_nothing_is_opened_before_the_window_ends() -> None:
    rig, others = contending(continuous())
    assert rig.play(until=after_wake(rig.scene, WINDOW_MS - 40)) == []
    assert told(others) == [(Stage.CLAIM, "session-1")]
    assert rig.pipeline.session_id is None
    after = rig.play(until=after_wake(rig.scene, WINDOW_MS + 40))
    assert of(WakeDetected, after)
    assert rig.pipeline.session_id == "session-1"


@pytest.mark.parametrize("arrives_ms", [-40, 0, 100])
def test_a_device_that_loses_says_nothing_of_a_session(arrives_ms: float) -> None:
    rig, others = contending(continuous())
    others.say[after_wake(rig.scene, arrives_ms)] = other()
    events = rig.play()
    assert [type(event) for event in events] == [StoodDown]
    assert told(others) == [(Stage.CLAIM, "session-1")]
    assert rig.pipeline.state is State.IDLE
    assert not rig.transcriber.calls


def test_a_device_that_lost_answers_the_next_time() -> None:
    scene = continuous().wake(late_ms=80).say("good night").silence(2000)
    rig, others = contending(scene)
    others.say[after_wake(scene, 50)] = other()
    assert [final.text for final in of(TranscriptFinal, rig.play())] == ["good night"]


def test_without_the_others_it_answers_at_once() -> None:
    rig, others = contending(continuous(), participation=Participation.ALONE)
    events = rig.play(until=after_wake(rig.scene, 20))
    assert of(SessionStarted, events)
    assert not others.told


def test_the_window_is_live_time_also_for_a_pipeline_that_lags() -> None:
    rig, others = contending(continuous())
    rig.play(until=rig.scene.wakes[0] - ms_to_samples(40))
    rig.clock.now += ms_to_samples(1000)
    claimed_at = rig.clock.now
    rig.play(until=after_wake(rig.scene, 2 * WINDOW_MS))
    assert rig.pipeline.session_id is None
    others.say[claimed_at] = other()
    assert of(StoodDown, rig.play())


def test_a_device_that_lags_by_seconds_knows_what_was_answered() -> None:
    rig, others = contending(continuous())
    others.say[after_wake(rig.scene, WINDOW_MS)] = other(Stage.TAKEN, score=0.5)
    rig.play(until=rig.scene.wakes[0] - ms_to_samples(40))
    rig.clock.now += ms_to_samples(WINDOW_MS + 40)
    rig.play(until=rig.scene.wakes[0] - ms_to_samples(20))
    rig.clock.now += ms_to_samples(3000)
    assert [type(event) for event in rig.play()] == [StoodDown]


@pytest.mark.parametrize(
    ("order", "state"),
    [
        ("cancel", State.IDLE),
        ("mute", State.MUTED),
        ("lose_input", State.IDLE),
        ("shutdown", State.IDLE),
    ],
)
def test_what_ends_a_session_also_ends_the_wait_for_one(order: str, state: State) -> None:
    rig, _ = contending(continuous())
    rig.play(until=after_wake(rig.scene, 60))
    events = getattr(rig.pipeline, order)() + rig.play(until=after_wake(rig.scene, 400))
    assert not of(SessionStarted, events)
    assert rig.pipeline.state is state


def test_listen_in_the_window_opens_a_session_of_its_own() -> None:
    rig, _ = contending(continuous())
    rig.play(until=after_wake(rig.scene, 60))
    events = rig.pipeline.listen() + rig.play()
    (started,) = of(SessionStarted, events)
    assert started.wake_word is None


def test_of_two_sessions_the_lower_ends_as_cancelled() -> None:
    rig, others = contending(continuous())
    others.say[after_wake(rig.scene, 500)] = other(Stage.TAKEN)
    events = rig.play()
    assert reasons(events) == [(EndReason.CANCELLED, 0)]
    assert states(events)[-1] is State.IDLE
    assert len(of(StoodDown, events)) == 1


def test_no_word_is_shown_while_it_is_open_who_answers_nor_after_standing_down() -> None:
    rig, others = contending(continuous(), window_ms=400)
    assert not of(TranscriptPartial, rig.play(until=after_wake(rig.scene, 380)))
    rig, others = contending(continuous())
    others.say[after_wake(rig.scene, 200)] = other(Stage.TAKEN)
    events = rig.play()
    (stood_down,) = of(StoodDown, events)
    assert not of(TranscriptPartial, events[events.index(stood_down) :])


def test_a_late_claim_leaves_the_session_alone() -> None:
    rig, others = contending(continuous())
    others.say[after_wake(rig.scene, 500)] = other()
    assert reasons(rig.play()) == [(EndReason.SILENCE, 1)]


def test_a_wake_word_in_a_session_is_held_against_the_others() -> None:
    scene = Scene().silence(2000).wake(late_ms=80).silence(2000).wake(late_ms=80).say(COMMAND)
    rig, others = contending(scene.silence(2000))
    events = rig.play()
    held = (Stage.TAKEN, "session-1")
    assert told(others) == [(Stage.CLAIM, "session-1"), held, held]
    assert len(of(SessionEnded, events)) == 1


@pytest.mark.parametrize("participation", [Participation.ALONE, Participation.SILENT])
def test_without_a_full_say_nothing_is_claimed_or_held(participation: Participation) -> None:
    scene = Scene().silence(2000).wake(late_ms=80).silence(2000).wake(late_ms=80).silence(2000)
    rig, others = contending(scene, participation=participation)
    assert of(SessionStarted, rig.play())
    assert not others.told


@pytest.mark.parametrize("block_ms", [1, 7, 16, 33, 100])
def test_the_blocks_of_the_audio_leave_no_trace(block_ms: float) -> None:
    events = []
    for size_ms in (20, block_ms):
        rig, others = contending(paused())
        others.say[after_wake(rig.scene, 90)] = other(score=0.5)
        events.append(rig.play(block_ms=size_ms))
    assert events[0] == events[1]
