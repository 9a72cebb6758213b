"""Another recogniser in idle moments: by steps, never in a session, and harmless when it fails."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from support.fakes import FakeClock, FakeTranscriber, FakeVad, FakeWake, Rig
from support.scenes import continuous, in_speech, of
from voice_daemon.errors import ModelError, VoiceDaemonError
from voice_daemon.events import TranscriptFinal
from voice_daemon.runtime.scheduler import ModelReload, RoundRobin
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions


@dataclass
class Change:
    """A change of three steps, with what came of it."""

    at_rest: bool = True
    fault: Exception | None = None
    taken: int = 0
    told: list[VoiceDaemonError | None] = field(default_factory=list)
    freed: bool = False

    def __post_init__(self) -> None:
        self.switch = ModelReload(
            self._steps(), at_rest=lambda: self.at_rest, done=self.told.append
        )
        self.scheduler = RoundRobin()
        self.scheduler.join(self.switch)

    def _steps(self) -> Generator[None, None, None]:
        try:
            for _ in range(3):
                self.taken += 1
                yield
            if self.fault is not None:
                raise self.fault
        finally:
            self.freed = True

    def finish(self) -> None:
        while self.scheduler.due:
            self.scheduler.step()


def test_it_takes_its_steps_one_by_one_and_tells_the_end() -> None:
    change = Change()
    change.scheduler.step()
    assert (change.taken, change.told) == (1, [])
    change.finish()
    assert (change.taken, change.told) == (3, [None])
    assert not change.switch.due


def test_it_waits_while_a_session_is_open() -> None:
    change = Change(at_rest=False)
    change.finish()
    assert change.taken == 0
    change.at_rest = True
    change.finish()
    assert change.told == [None]


@pytest.mark.parametrize(
    "fault", [ModelError("x", "no", remedy=""), RuntimeError("metal"), MemoryError()]
)
def test_a_failure_is_told_and_ends_it(fault: Exception) -> None:
    change = Change(fault=fault)
    change.finish()
    (error,) = change.told
    assert isinstance(error, ModelError)
    assert not change.switch.due


def test_one_that_is_dropped_frees_what_it_had_and_says_nothing() -> None:
    change = Change()
    change.scheduler.step()
    change.switch.drop()
    assert change.freed
    change.finish()
    assert change.told == []


def test_a_session_goes_on_with_the_recogniser_that_it_began_with() -> None:
    scene = continuous()
    rig = Rig(scene)
    resting = [rig.pipeline.at_rest]
    in_speech(rig)
    resting.append(rig.pipeline.at_rest)
    rest = rig.play()
    resting.append(rig.pipeline.at_rest)
    assert resting == [True, False, True]
    assert of(TranscriptFinal, rest)


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


def test_the_stopwatch_hands_over() -> None:
    first, second = FakeTranscriber(words=["old"]), FakeTranscriber(words=["new"])
    stopwatch = TimedTranscriber(first)
    stopwatch.use(second)
    stopwatch.start(wake_phrase=None)
    assert stopwatch._transcriber is second
