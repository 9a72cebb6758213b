"""A wake word of a low score opens a session only once the recogniser has read it."""

from __future__ import annotations

import numpy as np
import pytest

from support.fakes import FakeTranscriber, Rig, Scene
from support.scenes import COMMAND, continuous, of, paused
from voice_daemon.events import (
    AudioBlock,
    ErrorRaised,
    SessionEnded,
    State,
    TranscriptFinal,
    WakeDetected,
    ms_to_samples,
)


@pytest.mark.parametrize("late_ms", [80, 240])
def test_a_wake_word_of_a_low_score_opens_a_session_once_it_is_read(late_ms: float) -> None:
    scene = Scene().silence(2000).wake(late_ms=late_ms).say(COMMAND).silence(2000)
    rig = Rig(scene)
    rig.wake.is_sure = False
    events = rig.play()
    assert [wake.verified for wake in of(WakeDetected, events)] == [True]
    assert [final.text for final in of(TranscriptFinal, events)] == [COMMAND]
    assert not rig.transcriber.holds_audio


def test_a_low_score_without_the_word_opens_nothing() -> None:
    scene = continuous()
    rig = Rig(scene, transcriber=FakeTranscriber(words=["They", "jar", *scene.words[2:]]))
    rig.wake.is_sure = False
    assert rig.play() == []
    assert rig.transcriber.calls == ["start", "finish", "reset"]


@pytest.mark.parametrize("is_beside", [False, True])
def test_the_detector_is_told_what_was_taken_out_of_what_it_hears(*, is_beside: bool) -> None:
    rig = Rig(continuous())
    rig.pipeline.feed(AudioBlock(0, np.zeros(320, np.int16), beside_own_sound=is_beside))
    assert rig.wake.beside_own_sound == is_beside


def test_a_high_score_needs_no_second_opinion() -> None:
    rig = Rig(paused())
    (wake,) = of(WakeDetected, rig.play())
    assert not wake.verified
    assert rig.transcriber.wake_phrases == [None]


def test_a_low_score_in_a_session_changes_nothing() -> None:
    scene = Scene().silence(2000).wake(late_ms=80).say("turn on").wake(late_ms=80).silence(2000)
    rig = Rig(scene)
    rig.play(until=scene.wakes[0] + ms_to_samples(100))
    rig.wake.is_sure = False
    n_starts = rig.transcriber.calls.count("start")
    assert len(of(SessionEnded, rig.play())) == 1
    assert rig.transcriber.calls.count("start") <= n_starts + 1


def test_a_recogniser_that_fails_at_a_second_opinion_is_told_and_can_be_used_again() -> None:
    rig = Rig(
        continuous(), transcriber=FakeTranscriber(words=continuous().words, fails_at=("finish", 1))
    )
    rig.wake.is_sure = False
    (error,) = of(ErrorRaised, rig.play())
    assert error.code == "asr.failed"
    assert not rig.transcriber.holds_audio
    assert rig.pipeline.state is State.IDLE
