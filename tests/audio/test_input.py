"""The audio input's life, with sources and clocks that do what the test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from voice_daemon.audio import AudioSource
from voice_daemon.audio.input import AudioInput, InputBack, InputLost, SystemClock
from voice_daemon.audio.level import SilenceMeter
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import SAMPLE_RATE, AudioBlock

SECOND = 16_000


@dataclass(slots=True)
class ManualClock:
    """Time that moves when it is told to, and when somebody sleeps."""

    monotonic_s: float = 1000.0
    wall_s: float = 5000.0

    def advance(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds

    def as_clock(self) -> SystemClock:
        return SystemClock(
            monotonic=lambda: self.monotonic_s, wall=lambda: self.wall_s, sleep=self.advance
        )


@dataclass(slots=True)
class ScriptedSource:
    """Delivers the blocks that it holds; a read without one takes as long as it may."""

    clock_of_test: ManualClock
    blocks: list[AudioBlock] = field(default_factory=list)
    failure: Exception | None = None
    wanted_sample: int = 0
    exhausted: bool = False
    description: str = "a scripted microphone"
    dropped_samples: int = 0
    end_sample: int = 0
    stops: int = 0

    def start(self) -> None:
        if self.failure is not None:
            raise self.failure

    def read(self, timeout_s: float) -> AudioBlock | None:
        if self.blocks:
            block = self.blocks.pop(0)
            self.end_sample = block.first_sample + len(block.samples)
            return block
        self.clock_of_test.advance(timeout_s)
        return None

    def now_sample(self) -> int:
        return self.end_sample

    def stop(self) -> None:
        self.stops += 1


def block(first_sample: int, n_samples: int = 1280, value: int = 7) -> AudioBlock:
    return AudioBlock(first_sample, np.full(n_samples, value, np.int16))


def no_device() -> AudioDeviceError:
    return AudioDeviceError("mic.none", "no such device", remedy="plug one in")


def one_after_another(*sources: ScriptedSource) -> Callable[[], AudioSource]:
    waiting = list(sources)
    return lambda: waiting.pop(0)


def read_until(audio_input: AudioInput, kind: type, *, n_reads: int = 1000) -> object:
    """Read on in fake time until a `kind` comes."""
    for _ in range(n_reads):
        got = audio_input.read(0.25)
        if isinstance(got, kind):
            return got
    raise AssertionError(kind)


def open_input(clock: ManualClock, *sources: ScriptedSource) -> AudioInput:
    audio_input = AudioInput(one_after_another(*sources), stall_timeout_s=3, clock=clock.as_clock())
    audio_input.open()
    return audio_input


def test_blocks_pass_and_count_on() -> None:
    clock = ManualClock()
    audio_input = open_input(clock, ScriptedSource(clock, [block(0), block(1280)]))
    assert [type(audio_input.read(1)), type(audio_input.read(1))] == [AudioBlock, AudioBlock]
    assert audio_input.now_sample() == 2560


def test_a_wanted_sample_is_the_sources_own() -> None:
    clock = ManualClock()
    first = ScriptedSource(clock, [block(0)])
    second = ScriptedSource(clock)
    audio_input = open_input(clock, first, second)
    audio_input.read(1, wanted_sample=2560)
    assert first.wanted_sample == 2560
    clock.advance(0.5)
    audio_input.reopen()
    begins_at = audio_input.now_sample()
    audio_input.read(0, wanted_sample=begins_at + 1280)
    # The second stream begins where the first one ended, and 0.5 s later.
    assert second.wanted_sample == begins_at + 1280 - (1280 + SAMPLE_RATE // 2)


def test_a_pause_shorter_than_the_stall_timeout_is_no_loss() -> None:
    clock = ManualClock()
    source = ScriptedSource(clock, [block(0)])
    audio_input = open_input(clock, source)
    audio_input.read(1)
    assert [audio_input.read(1), audio_input.read(1)] == [None, None]
    source.blocks.append(block(1280))
    assert isinstance(audio_input.read(1), AudioBlock)
    assert [audio_input.read(1), audio_input.read(1)] == [None, None]


def test_a_stall_loses_the_input_and_a_new_source_brings_it_back() -> None:
    clock = ManualClock()
    first = ScriptedSource(clock, [block(0, SECOND)])
    second = ScriptedSource(clock, [block(0)], description="the new one")
    audio_input = open_input(clock, first, second)
    audio_input.read(1)
    assert isinstance(read_until(audio_input, InputLost), InputLost)
    assert audio_input.source is None
    assert read_until(audio_input, InputBack) == InputBack("the new one")
    assert first.stops == 1
    assert audio_input.reopens == 1


def test_the_time_without_sound_is_a_gap_in_the_samples() -> None:
    clock = ManualClock()
    second = ScriptedSource(clock, [block(0)])
    audio_input = open_input(clock, ScriptedSource(clock, [block(0, SECOND)]), second)
    audio_input.read(1)
    before_s = clock.monotonic_s
    read_until(audio_input, InputBack)
    away_s = clock.monotonic_s - before_s
    after = audio_input.read(1)
    assert isinstance(after, AudioBlock)
    assert after.first_sample == SECOND + round(away_s * SECOND)
    assert audio_input.now_sample() == after.first_sample + 1280


def test_an_input_that_does_not_come_back_is_given_up_after_three_attempts() -> None:
    clock = ManualClock()
    gone = [ScriptedSource(clock, failure=no_device()) for _ in range(3)]
    audio_input = open_input(clock, ScriptedSource(clock), *gone)
    read_until(audio_input, InputLost)
    lost_s = clock.monotonic_s
    with pytest.raises(AudioDeviceError, match="no such device"):
        read_until(audio_input, InputBack)
    assert clock.monotonic_s - lost_s == pytest.approx(1 + 2 + 5, abs=0.5)


def test_an_input_back_at_the_second_attempt_gets_three_more_the_next_time() -> None:
    clock = ManualClock()
    gone = ScriptedSource(clock, failure=no_device())
    audio_input = open_input(clock, ScriptedSource(clock), gone, ScriptedSource(clock), gone, gone)
    read_until(audio_input, InputLost)
    read_until(audio_input, InputBack)
    read_until(audio_input, InputLost)
    with pytest.raises(IndexError):  # the third new attempt finds no source left in the script
        read_until(audio_input, InputBack)


def test_a_device_error_while_reading_loses_the_input_at_once() -> None:
    class Torn(ScriptedSource):
        def read(self, timeout_s: float) -> AudioBlock | None:
            raise AudioDeviceError("mic.gone", f"unplugged within {timeout_s}", remedy="plug it in")

    clock = ManualClock()
    audio_input = open_input(clock, Torn(clock))
    assert audio_input.read(1) == InputLost("unplugged within 1")


def test_a_machine_that_slept_reopens_its_input() -> None:
    clock = ManualClock()
    source = ScriptedSource(clock, [block(0), block(1280)])
    audio_input = open_input(clock, source, ScriptedSource(clock))
    audio_input.read(1)
    clock.wall_s += 3600
    lost = audio_input.read(1)
    assert isinstance(lost, InputLost)
    assert "3600" in lost.message
    read_until(audio_input, InputBack)
    assert audio_input.read(1) is None


def test_a_file_at_its_end_is_not_lost() -> None:
    clock = ManualClock()
    audio_input = open_input(clock, ScriptedSource(clock, exhausted=True))
    assert [audio_input.read(1) for _ in range(5)] == [None] * 5


def missing(message: str = "there is no audio input") -> AudioDeviceError:
    return AudioDeviceError("audio.no_input", message, remedy="connect a microphone")


def test_an_input_that_was_never_there_is_waited_for_and_then_used() -> None:
    clock = ManualClock()
    gone = [ScriptedSource(clock, failure=missing()) for _ in range(200)]
    there = ScriptedSource(clock, [block(0)], description="a microphone at last")
    audio_input = AudioInput(
        one_after_another(*gone, there), stall_timeout_s=3, clock=clock.as_clock()
    )
    assert audio_input.open() == InputLost("there is no audio input", "connect a microphone")
    began_s = clock.monotonic_s
    assert read_until(audio_input, InputBack, n_reads=10_000) == InputBack("a microphone at last")
    assert clock.monotonic_s - began_s > 590, "for as long as it takes"
    first = audio_input.read(1)
    assert isinstance(first, AudioBlock)
    assert first.first_sample == 0
    assert audio_input.reopens == 0


def test_it_is_looked_for_again_soon_after_it_was_plugged_in() -> None:
    clock = ManualClock()
    sources = [ScriptedSource(clock, failure=missing()), ScriptedSource(clock, [block(0)])]
    audio_input = AudioInput(one_after_another(*sources), stall_timeout_s=3, clock=clock.as_clock())
    audio_input.open()
    plugged_in_s = clock.monotonic_s
    read_until(audio_input, AudioBlock)
    assert clock.monotonic_s - plugged_in_s < 5


def test_another_reason_why_it_is_not_there_is_told_and_the_same_one_is_not() -> None:
    clock = ManualClock()
    held = AudioDeviceError("audio.cannot_open", "it is held by another", remedy="close it")
    failures = [missing(), missing(), held, held, missing()]
    audio_input = AudioInput(
        one_after_another(*(ScriptedSource(clock, failure=each) for each in failures)),
        stall_timeout_s=3,
        clock=clock.as_clock(),
    )
    told = [audio_input.open()]
    told += [read_until(audio_input, InputLost) for _ in range(2)]  # type: ignore[misc]
    assert [lost.message for lost in told if lost] == [
        "there is no audio input",
        "it is held by another",
        "there is no audio input",
    ]


def test_a_driver_that_hangs_while_it_is_waited_for_is_given_up() -> None:
    clock = ManualClock()
    hung = AudioDeviceError("audio.driver_hung", "no answer", remedy="restart")
    sources = [ScriptedSource(clock, failure=each) for each in (missing(), hung, hung, hung)]
    audio_input = AudioInput(one_after_another(*sources), stall_timeout_s=3, clock=clock.as_clock())
    audio_input.open()
    with pytest.raises(AudioDeviceError, match="no answer"):
        read_until(audio_input, InputBack)


def test_an_input_that_is_opened_anew_goes_on_counting_and_stays_silent_until_sound() -> None:
    clock = ManualClock()
    silent = ScriptedSource(clock, [block(0, SECOND, value=0)])
    audio_input = open_input(clock, silent, ScriptedSource(clock, [block(0, SECOND, value=0)]))
    audio_input.read(1)
    clock.advance(0.5)
    assert audio_input.reopen() is None
    after = audio_input.read(1)
    assert isinstance(after, AudioBlock)
    assert after.first_sample == SECOND + SECOND // 2
    assert audio_input.silence.silent_s == 2.0
    assert (silent.stops, audio_input.reopens) == (1, 1)


def test_an_input_that_cannot_be_opened_anew_is_lost() -> None:
    clock = ManualClock()
    audio_input = open_input(
        clock, ScriptedSource(clock, [block(0)]), ScriptedSource(clock, failure=no_device())
    )
    audio_input.read(1)
    assert audio_input.reopen() == InputLost("no such device")


def test_the_first_opening_fails_with_the_sources_own_error() -> None:
    clock = ManualClock()
    audio_input = AudioInput(
        one_after_another(ScriptedSource(clock, failure=no_device())), stall_timeout_s=3
    )
    with pytest.raises(AudioDeviceError, match="no such device"):
        audio_input.open()


def test_closing_an_open_input_stops_it() -> None:
    clock = ManualClock()
    source = ScriptedSource(clock)
    audio_input = open_input(clock, source)
    audio_input.close()
    audio_input.close()
    assert source.stops == 1


def test_only_exact_zeros_count_as_digital_silence() -> None:
    meter = SilenceMeter()
    meter.feed(np.zeros(SECOND, np.int16))
    assert meter.silent_s == 1.0
    meter.feed(np.concatenate([np.ones(100, np.int16), np.zeros(8000, np.int16)]))
    assert meter.silent_s == 0.5
    meter.feed(np.ones(1, np.int16))
    assert meter.silent_s == 0.0


def test_sound_too_faint_to_hear_anything_in_is_measured_until_it_gets_louder() -> None:
    meter = SilenceMeter()
    hiss = np.resize(np.array([1, -1, 0], np.int16), SECOND)
    meter.feed(hiss)
    meter.feed(hiss)
    assert (meter.silent_s, meter.faint_s) == (0.0, 2.0)
    meter.feed(np.resize(np.array([30, -30], np.int16), 320))
    assert meter.faint_s == 0.0
