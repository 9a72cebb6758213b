"""What the pipeline does when audio, time or a part of it fails, and when it is muted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from support.fakes import FakeTranscriber, Rig, Scene
from support.scenes import continuous, in_speech, of, reasons, states
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import (
    AudioBlock,
    EndReason,
    ErrorRaised,
    Event,
    State,
    TranscriptFinal,
    TranscriptPartial,
    ms_to_samples,
)
from voice_daemon.session.pipeline import PipelineOptions

# --- falling behind --------------------------------------------------------------------------


def test_a_slow_recogniser_merges_steps_and_says_how_late_it_is() -> None:
    scene = continuous(" ".join(["word"] * 20))
    transcriber = FakeTranscriber(words=scene.words, cost_ms=900)
    rig = Rig(scene, transcriber=transcriber, options=PipelineOptions(step_s=0.5))
    events = rig.play()
    spoken_s = 20 * 0.24
    assert rig.transcriber.calls.count("step") <= spoken_s / 0.5 - 3
    assert min(p.lag_ms for p in of(TranscriptPartial, events)) >= 900
    assert reasons(events) == [(EndReason.SILENCE, 1)]


def test_slow_steps_are_spread_so_that_time_is_left_over() -> None:
    scene = continuous(" ".join(["word"] * 40))
    cost_ms = 900
    transcriber = FakeTranscriber(words=scene.words, cost_ms=cost_ms)
    rig = Rig(scene, transcriber=transcriber, options=PipelineOptions(step_s=0.5))
    heard_ms = [p.audio_ms for p in of(TranscriptPartial, rig.play())]
    assert len(heard_ms) > 3
    assert all(after - before > 1.1 * cost_ms for before, after in pairwise(heard_ms))


def test_steps_that_keep_up_are_not_spread() -> None:
    scene = continuous(" ".join(["word"] * 20))
    transcriber = FakeTranscriber(words=scene.words, cost_ms=100)
    rig = Rig(scene, transcriber=transcriber, options=PipelineOptions(step_s=0.5))
    heard_ms = [p.audio_ms for p in of(TranscriptPartial, rig.play())]
    assert len(heard_ms) > 3
    assert all(after - before <= 520 for before, after in pairwise(heard_ms))


def test_merged_steps_lose_no_audio() -> None:
    scene = continuous(" ".join(f"word{n}" for n in range(20)))
    transcriber = FakeTranscriber(words=scene.words, cost_ms=900)
    (final,) = of(TranscriptFinal, Rig(scene, transcriber=transcriber).play())
    assert final.text == " ".join(f"word{n}" for n in range(20))


def test_a_session_too_far_behind_ends_with_overload() -> None:
    scene = continuous()
    transcriber = FakeTranscriber(words=scene.words, cost_ms=6000)
    events = Rig(scene, transcriber=transcriber).play()
    assert reasons(events) == [(EndReason.OVERLOAD, 0)]
    assert [e.code for e in of(ErrorRaised, events)] == ["session.command_lost"]


def test_a_command_that_was_read_is_published_however_long_the_reading_took() -> None:
    scene = continuous("lights on")
    transcriber = FakeTranscriber(words=scene.words, cost_ms=6000)
    events = Rig(scene, transcriber=transcriber, options=PipelineOptions(partials=False)).play()
    assert reasons(events) == [(EndReason.OVERLOAD, 1)]
    assert [final.text for final in of(TranscriptFinal, events)] == ["lights on"]
    assert not of(ErrorRaised, events)


def test_a_wake_word_in_an_old_backlog_opens_no_lasting_session() -> None:
    scene = continuous()
    rig = Rig(scene, now_sample=lambda: scene.now + 30 * 16_000)
    events = rig.play()
    assert reasons(events) == [(EndReason.OVERLOAD, 0)]
    assert not of(TranscriptFinal, events)


# --- lost audio ------------------------------------------------------------------------------


def with_gap(rig: Rig, *, gap_ms: float) -> list[Event]:
    """Play up to the middle of the command, lose some audio, and play on."""
    events = in_speech(rig)
    rig.played += ms_to_samples(gap_ms)
    return events + rig.play()


def test_a_short_gap_in_a_session_becomes_silence() -> None:
    rig = Rig(continuous())
    events = with_gap(rig, gap_ms=100)
    assert reasons(events) == [(EndReason.SILENCE, 1)]
    assert rig.pipeline.lost_samples == 1600


def test_a_long_gap_ends_the_session_as_mic_lost() -> None:
    rig = Rig(continuous())
    events = with_gap(rig, gap_ms=1100)
    assert reasons(events) == [(EndReason.MIC_LOST, 0)]


def test_after_a_long_gap_the_wake_detector_starts_afresh_there() -> None:
    rig = Rig(continuous("lights on").silence(1000).wake().say("lights off").silence(1000))
    events = with_gap(rig, gap_ms=1100)
    assert rig.wake.resets == [0, rig.scene.wakes[0] + ms_to_samples(900 + 1100)]
    assert [f.text for f in of(TranscriptFinal, events)] == ["lights off"]


@pytest.mark.parametrize("first_sample", [0, 10**9])
def test_a_lost_input_may_come_back_anywhere(first_sample: int) -> None:
    rig = Rig(continuous())
    in_speech(rig)
    rig.pipeline.lose_input()
    assert rig.pipeline.feed(AudioBlock(first_sample, rig.scene.samples[:1000])) == []
    assert rig.wake.resets[-1] == first_sample


def test_audio_that_goes_back_in_time_is_an_error() -> None:
    rig = Rig(continuous())
    rig.play(until=16_000)
    with pytest.raises(AudioDeviceError, match="sample 15999, before 16000"):
        rig.pipeline.feed(AudioBlock(15_999, np.zeros(320, np.int16)))


# --- mute ------------------------------------------------------------------------------------


def test_mute_ends_the_session_and_zeroes_every_buffer() -> None:
    rig = Rig(continuous())
    in_speech(rig)
    rig.play(until=rig.played + 100)
    waiting = rig.pipeline._framer._pending
    assert waiting.any()
    assert rig.vad._pending.any()
    ring = rig.pipeline._context.ring
    stores = [value for value in vars(ring).values() if isinstance(value, np.ndarray)]
    assert any(store.any() for store in stores)
    events = rig.pipeline.mute()
    assert reasons(events) == [(EndReason.MUTED, 0)]
    assert states(events) == [State.MUTED]
    assert not of(ErrorRaised, events)
    assert not any(store.any() for store in stores)
    assert ring.first_sample == ring.end_sample
    assert not rig.transcriber.holds_audio
    assert not rig.vad._pending.any()
    assert not waiting.any()


def test_a_muted_pipeline_hears_nothing() -> None:
    rig = Rig(continuous())
    assert states(rig.pipeline.mute()) == [State.MUTED]
    assert rig.play() == []
    assert rig.pipeline.mute() == []
    assert rig.pipeline.listen() == []
    assert rig.wake.heard == 0
    assert rig.pipeline._context.ring.end_sample == rig.pipeline._context.ring.first_sample


def test_unmute_hears_again_from_there_and_nothing_from_before() -> None:
    rig = Rig(continuous("lights on").silence(100).wake().say("lights off").silence(1000))
    rig.play(until=8000)
    rig.pipeline.mute()
    middle = rig.scene.wakes[0] + ms_to_samples(2700)
    rig.play(until=middle)
    assert states(rig.pipeline.unmute()) == [State.IDLE]
    assert rig.wake.resets[-1] == middle
    assert [f.text for f in of(TranscriptFinal, rig.play())] == ["lights off"]


def test_a_command_to_listen_right_after_unmute_works() -> None:
    rig = Rig(Scene().silence(3000).say("stop").silence(1000))
    rig.play(until=16_000)
    rig.pipeline.mute()
    rig.play(until=40_000)
    rig.pipeline.unmute()
    events = rig.pipeline.listen() + rig.play()
    assert [f.text for f in of(TranscriptFinal, events)] == ["stop"]


# --- parts that fail -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["start", "step", "finish"])
def test_a_failing_recogniser_ends_the_session_and_the_next_one_works(method: str) -> None:
    scene = continuous().wake().say("lights off").silence(1000)
    transcriber = FakeTranscriber(words=scene.words, fails_at=(method, 1))
    rig = Rig(scene, transcriber=transcriber)
    events = rig.play()
    (error,) = of(ErrorRaised, events)
    assert error.code == "asr.failed"
    assert "RuntimeError: out of memory" in error.message
    assert error.session_id == "session-1"
    assert reasons(events) == [(EndReason.ERROR, 0), (EndReason.SILENCE, 1)]
    assert isinstance(rig.pipeline.last_fault, Exception)
    assert isinstance(rig.pipeline.last_fault.__cause__, RuntimeError)


def test_a_recogniser_that_cannot_be_reset_is_reported_outside_the_session() -> None:
    scene = continuous()
    rig = Rig(scene, transcriber=FakeTranscriber(words=scene.words, fails_at=("reset", 1)))
    events = rig.play()
    assert reasons(events) == [(EndReason.SILENCE, 1)]
    assert [e.session_id for e in of(ErrorRaised, events)] == [None]


def test_a_recogniser_that_takes_text_back_cannot_retract_what_was_published() -> None:
    scene = continuous(" ".join(f"word{n}" for n in range(12)))
    rig = Rig(scene, transcriber=FakeTranscriber(words=scene.words, forgets_at=4))
    texts = [p.text for p in of(TranscriptPartial, rig.play())]
    assert all(b.startswith(a) for a, b in pairwise(texts))


def test_a_failing_voice_detector_is_raised_but_its_session_still_ends() -> None:
    rig = Rig(continuous())
    in_speech(rig)
    rig.vad.frame_samples = 0
    with pytest.raises(ZeroDivisionError):
        rig.play()
    assert reasons(rig.pipeline.shutdown()) == [(EndReason.ERROR, 0)]
    assert rig.pipeline.state is State.IDLE
