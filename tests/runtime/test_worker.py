"""The worker thread on a real pipeline with fake models: order, faults, requests, endings."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fakes import FakeTranscriber, FakeVad, FakeWake, Scene
from support.permissions import ScriptedPermission
from voice_daemon.audio import AudioSource
from voice_daemon.audio.authorization import Authorization
from voice_daemon.audio.file import FileReplay
from voice_daemon.audio.input import AudioInput, SystemClock
from voice_daemon.errors import AudioDeviceError, ModelError, Problem
from voice_daemon.events import AudioBlock, State
from voice_daemon.mqtt.messages import Info
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.runtime.microphone_watch import MicrophoneWatch
from voice_daemon.runtime.worker import Engine, Outcome, Worker
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions

BLOCK = 1280
WAIT_S = 30.0


@dataclass(slots=True)
class Recording:
    """An audio source that delivers its samples as fast as they are read, then what is next."""

    samples: NDArray[np.int16]
    then: Callable[[], AudioBlock | None] = lambda: None
    description: str = "a recording"
    dropped_samples: int = 0
    wanted_sample: int = 0
    stopped: bool = False
    _read: int = 0

    @property
    def exhausted(self) -> bool:
        return self._read >= len(self.samples)

    def now_sample(self) -> int:
        return self._read

    def start(self) -> None:
        self._read = 0

    def stop(self) -> None:
        self.stopped = True

    def read(self, timeout_s: float) -> AudioBlock | None:
        assert timeout_s > 0
        if self.exhausted:
            return self.then()
        block = AudioBlock(self._read, self.samples[self._read : self._read + BLOCK])
        self._read += len(block.samples)
        return block


@dataclass(slots=True)
class FastClock:
    """A clock that only sleeping moves: pauses of seconds pass at once."""

    now_s: float = 100.0

    def read(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def as_clock(self) -> SystemClock:
        return SystemClock(monotonic=self.read, wall=self.read, sleep=self.sleep)


@dataclass(slots=True)
class Bench:
    """A worker with everything around it, and what came out of it."""

    scene: Scene
    sources: list[AudioSource] = field(default_factory=list)
    transcriber: FakeTranscriber | None = None
    wake_problem: Problem | None = None
    asr_self_test: str = "pass"
    build_error: Exception | None = None
    replay: bool = True
    silence_alarm_s: float | None = None
    watch: MicrophoneWatch | None = None
    clock: FastClock = field(default_factory=FastClock)
    messages: list[MqttMessage] = field(default_factory=list)
    ends: queue.SimpleQueue[Outcome] = field(default_factory=queue.SimpleQueue)
    log: list[str] = field(default_factory=list)
    built_on: list[str] = field(default_factory=list)
    publisher: Publisher = field(init=False)
    audio_input: AudioInput = field(init=False)
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        self.publisher = Publisher(
            publish=self.messages.append,
            topics=Topics("voice", "test"),
            info=Info("1.0", "fake", ("hey_jarvis",), "default"),
            settings={"mute": False, "wake_threshold": 0.5},
            final_ttl_s=30,
        )
        replay = None
        if self.replay:
            file = Recording(self.scene.samples)
            replay = FileReplay(file, realtime=False, max_silence_s=30)
            self.sources.append(replay)
        self.audio_input = AudioInput(
            lambda: self.sources.pop(0), stall_timeout_s=3, clock=self.clock.as_clock()
        )
        self.worker = Worker(
            build=self.build,
            audio_input=self.audio_input,
            publisher=self.publisher,
            silence_alarm_s=self.silence_alarm_s,
            replay=replay,
            before_opening=lambda: self.log.append("models are warm"),
            on_end=self.ends.put,
            microphone=self.watch,
        )

    def build(self) -> Engine:
        self.built_on.append(threading.current_thread().name)
        if self.build_error is not None:
            raise self.build_error
        timed = TimedTranscriber(self.transcriber or FakeTranscriber(words=self.scene.words))
        pipeline = Pipeline(
            wake=FakeWake(self.scene.wakes),
            vad=FakeVad(),
            transcriber=timed,
            options=PipelineOptions(),
            now_sample=self.audio_input.now_sample,
            new_session_id=lambda: f"s{len(self.on('session'))}",
        )
        return Engine(pipeline, timed, self.wake_problem, self.asr_self_test)

    def run(self) -> Outcome:
        self.worker.start()
        return self.ends.get(timeout=WAIT_S)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert self.ends.empty(), "the worker ended before"
            assert time.monotonic() < deadline_s, "it never came to that"
            time.sleep(0.001)

    def on(self, leaf: str) -> list[str]:
        return [m.payload.decode() for m in self.messages if m.topic == f"voice/test/{leaf}"]


def command() -> Scene:
    return Scene().silence(2000).wake().silence(500).say("turn on the kitchen lights").silence(400)


def no_device() -> AudioDeviceError:
    return AudioDeviceError("mic.none", "no such device", remedy="plug one in")


def gone() -> AudioBlock | None:
    raise no_device()


def test_a_replayed_command_gives_its_final_and_then_the_worker_is_done() -> None:
    bench = Bench(command())
    assert bench.run() == Outcome()
    assert "turn on the kitchen lights" in bench.on("transcript/final")[0]
    assert bench.on("state") == ["idle", "listening", "transcribing", "idle"]
    assert '"reason":"silence"' in bench.on("session")[1]
    assert bench.publisher.snapshot().totals.rtf_p95 is not None


def test_models_are_built_on_the_workers_thread_and_before_the_input_is_opened() -> None:
    bench = Bench(command())
    bench.run()
    assert bench.built_on == ["worker"]
    assert bench.log == ["models are warm"]
    assert bench.on("info")[-1].count("a recording") == 1


def test_models_that_took_long_to_build_do_not_count_as_a_hang() -> None:
    bench = Bench(command())
    bench.worker.beat_s = built_s = time.monotonic() - 1000
    beats: list[float] = []
    bench.worker._before_opening = lambda: beats.append(bench.worker.beat_s)
    bench.run()
    assert beats[0] > built_s


def test_what_the_recognisers_self_test_found_is_known_once_it_is_at_work() -> None:
    bench = Bench(command(), asr_self_test="skipped")
    before = bench.worker.asr_self_test
    bench.run()
    assert (before, bench.worker.asr_self_test) == ("pending", "skipped")


def test_it_is_starting_until_audio_arrives() -> None:
    bench = Bench(Scene(), sources=[Recording(np.zeros(0, np.int16))], replay=False)
    bench.clock.now_s = 0
    bench.worker.start()
    done = threading.Event()
    bench.worker.submit(lambda pipeline: pipeline.cancel(), done=done.set)
    assert done.wait(WAIT_S)
    assert bench.publisher.snapshot().state is State.STARTING
    assert bench.worker.stop(WAIT_S)


def test_a_failed_self_test_is_never_idle_or_listening() -> None:
    bench = Bench(command(), wake_problem=Problem("wake", "scores 0.01", "other backend"))
    bench.run()
    assert bench.on("state") == ["degraded"]
    assert "wake.self_test" in bench.on("error")[0]


def test_a_model_that_cannot_be_built_ends_the_worker_with_its_error() -> None:
    missing = ModelError("models.missing", "no such folder", remedy="pull it")
    bench = Bench(command(), build_error=missing)
    assert bench.run() == Outcome(missing)


def test_a_crash_becomes_an_error_with_a_remedy() -> None:
    error = Bench(command(), build_error=ZeroDivisionError("by zero")).run().error
    assert error is not None
    assert (error.code, error.message) == (
        "daemon.crashed",
        "the daemon failed: ZeroDivisionError: by zero",
    )


def absent() -> AudioDeviceError:
    return AudioDeviceError(
        "audio.no_input", "there is no audio input", remedy="connect a microphone"
    )


def test_without_a_microphone_it_is_degraded_and_works_once_one_is_plugged_in() -> None:
    plugged_in = threading.Event()
    heard = Recording(np.full(16_000, 3, np.int16))

    class NotYet(Recording):
        def start(self) -> None:
            if plugged_in.is_set():
                bench.sources.insert(0, heard)
            bench.sources.append(NotYet(self.samples))
            raise absent()

    nothing = np.zeros(0, np.int16)
    bench = Bench(Scene(), sources=[NotYet(nothing)], replay=False)
    bench.worker.start()
    bench.wait_until(lambda: bench.publisher.snapshot().state is State.DEGRADED)
    problem = bench.publisher.snapshot().problems["mic.lost"]
    assert (problem.message, problem.remedy) == ("there is no audio input", "connect a microphone")
    bench.wait_until(lambda: bench.clock.now_s > 700)  # ten minutes of its clock
    plugged_in.set()
    bench.wait_until(lambda: bench.publisher.snapshot().state is State.IDLE)
    assert bench.on("state") == ["degraded", "idle"]
    assert len(bench.on("error")) == 1
    assert bench.worker.stop(WAIT_S)


def test_a_permission_that_comes_later_brings_sound_without_a_restart() -> None:
    permission = ScriptedPermission([Authorization.NOT_DETERMINED])
    # Longer than the worker reads on a busy machine until this thread has its turn.
    silence = Recording(np.zeros(8_000_000, np.int16))
    speech = Recording(np.full(16_000, 3, np.int16))
    bench = Bench(
        Scene(),
        sources=[silence, speech],
        replay=False,
        silence_alarm_s=5,
        watch=MicrophoneWatch(permission, may_ask=True, clock_s=count(step=2).__next__),
    )
    bench.worker.start()
    bench.wait_until(lambda: "mic.permission" in bench.publisher.snapshot().problems)
    assert permission.requests == 1
    assert bench.publisher.snapshot().state is State.DEGRADED
    permission.statuses.append(Authorization.AUTHORIZED)
    bench.wait_until(lambda: speech.exhausted)
    bench.wait_until(lambda: bench.publisher.snapshot().state is State.IDLE)
    assert silence.stopped
    assert bench.audio_input.reopens == 1
    assert bench.worker.stop(WAIT_S)


def test_an_input_that_fails_for_another_reason_ends_the_worker_with_its_error() -> None:
    class Closed(Recording):
        def start(self) -> None:
            raise no_device()

    bench = Bench(Scene(), sources=[Closed(np.zeros(0, np.int16))], replay=False)
    error = bench.run().error
    assert error is not None
    assert error.code == "mic.none"


def test_a_lost_input_ends_the_session_and_comes_back() -> None:
    scene = Scene().silence(2000).wake().silence(500).say("turn on the")
    second = Recording(np.full(16_000, 3, np.int16))
    bench = Bench(scene, sources=[Recording(scene.samples, then=gone), second], replay=False)
    bench.worker.start()
    bench.wait_until(lambda: second.exhausted and bench.publisher.snapshot().state is State.IDLE)
    assert bench.worker.stop(WAIT_S)
    assert '"reason":"mic_lost"' in bench.on("session")[1]
    assert bench.on("state")[-3:] == ["idle", "degraded", "idle"]
    assert bench.audio_input.reopens == 1


def test_an_input_that_opens_and_delivers_nothing_is_still_a_problem() -> None:
    silence = np.full(16_000, 3, np.int16)
    mute = Recording(np.zeros(0, np.int16))
    bench = Bench(Scene(), sources=[Recording(silence, then=gone), mute], replay=False)
    bench.worker.start()
    bench.wait_until(lambda: bench.audio_input.reopens == 1)
    handled = threading.Event()
    bench.worker.submit(lambda _: [], done=handled.set)
    assert handled.wait(WAIT_S)
    assert bench.publisher.snapshot().state is State.DEGRADED
    assert bench.worker.stop(WAIT_S)


def test_an_input_that_stays_away_ends_the_worker() -> None:
    class Closed(Recording):
        def start(self) -> None:
            raise no_device()

    silence = np.full(16_000, 3, np.int16)
    lost = [Closed(silence) for _ in range(3)]
    bench = Bench(Scene(), sources=[Recording(silence, then=gone), *lost], replay=False)
    error = bench.run().error
    assert error is not None
    assert error.code == "mic.none"
    assert bench.on("state") == ["idle", "degraded"]


def test_digital_silence_raises_the_alarm_and_sound_ends_it() -> None:
    samples = np.zeros(12 * 16_000, np.int16)
    samples[-16_000:] = 5
    bench = Bench(
        Scene(), sources=[Recording(samples)], replay=False, silence_alarm_s=10, clock=FastClock()
    )
    bench.worker.start()
    bench.wait_until(lambda: bench.on("state") == ["idle", "degraded", "idle"])
    assert bench.worker.stop(WAIT_S)
    assert ["mic.silent" in error for error in bench.on("error")] == [True]
    assert "Microphone" in bench.on("error")[0]


def test_a_stop_in_a_session_ends_it_with_shutdown() -> None:
    scene = Scene().silence(2000).wake().silence(500).say("turn on the kitchen lights")
    bench = Bench(scene, sources=[Recording(scene.samples)], replay=False)
    bench.worker.start()
    bench.wait_until(lambda: bench.publisher.snapshot().state is State.TRANSCRIBING)
    assert bench.worker.stop(WAIT_S)
    assert '"reason":"shutdown"' in bench.on("session")[1]
    assert bench.ends.get(timeout=WAIT_S) == Outcome()


def test_one_failure_of_the_recogniser_is_told_and_survived() -> None:
    scene = command()
    bench = Bench(scene, transcriber=FakeTranscriber(words=scene.words, fails_at=("step", 1)))
    assert bench.run() == Outcome()
    assert '"reason":"error"' in bench.on("session")[1]
    assert "out of memory" in bench.on("error")[0]


def test_a_recogniser_that_always_fails_ends_the_worker() -> None:
    class Broken(FakeTranscriber):
        def start(self, *, wake_phrase: str | None) -> None:
            raise RuntimeError(f"no memory for {wake_phrase}")

    scene = command().silence(3000).wake().silence(500).say("turn off").silence(2000)
    bench = Bench(scene, transcriber=Broken(words=scene.words))
    error = bench.run().error
    assert error is not None
    assert error.code == "asr.failed"
    assert len(bench.on("session")) == 4


@pytest.mark.parametrize("verb", ["mute", "cancel"])
def test_a_request_in_a_session_ends_it(verb: str) -> None:
    scene = Scene().silence(2000).wake().silence(500).say("turn on the kitchen lights")
    bench = Bench(scene, sources=[Recording(scene.samples)], replay=False)
    bench.worker.start()
    bench.wait_until(lambda: bench.publisher.snapshot().state is State.TRANSCRIBING)
    done = threading.Event()
    bench.worker.submit(lambda pipeline: getattr(pipeline, verb)(), done=done.set)
    assert done.wait(WAIT_S)
    assert bench.worker.stop(WAIT_S)
    assert f'"reason":"{verb}' in bench.on("session")[1].replace("muted", "mute")
