"""Options that change while a pipeline runs."""

from __future__ import annotations

from support.fakes import FakeClock, FakeTranscriber, FakeVad, FakeWake, Rig
from support.scenes import continuous, in_speech, of
from voice_daemon.events import TranscriptFinal
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions


def test_options_come_into_force_with_the_next_session_and_keep_the_pre_roll() -> None:
    scene = continuous()
    rig = Rig(scene)
    before = in_speech(rig)
    rig.pipeline.set_options(PipelineOptions(max_s=2, speech_start_ms=400, preroll_ms=2000))
    assert of(TranscriptFinal, [*before, *rig.play()])[0].text == "turn on the kitchen lights"


def test_the_silence_that_was_set_outlives_new_options() -> None:
    scene = continuous()
    pipeline = Pipeline(
        wake=FakeWake(scene.wakes),
        vad=FakeVad(),
        transcriber=TimedTranscriber(FakeTranscriber(words=scene.words)),
        options=PipelineOptions(),
        now_sample=FakeClock(),
        new_session_id=lambda: "s",
    )
    pipeline.set_silence(1234)
    pipeline.set_options(PipelineOptions(max_s=3))
    pipeline._adopt_options()
    assert pipeline._context.options.silence_ms == 1234
    assert pipeline._context.options.max_s == 3
