"""The microphone comes first: others compute only while no audio waits to be heard."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from support.fakes import FakeTranscriber, FakeVad, FakeWake, Scene
from voice_daemon.audio.input import AudioInput
from voice_daemon.events import AudioBlock, ms_to_samples
from voice_daemon.mqtt.messages import Info
from voice_daemon.mqtt.publisher import Publisher
from voice_daemon.mqtt.topics import MqttMessage, Topics
from voice_daemon.runtime.worker import BETWEEN_TURNS_S, Engine, Outcome, Worker
from voice_daemon.session.metrics import TimedTranscriber
from voice_daemon.session.pipeline import Pipeline, PipelineOptions
from voice_daemon.session.scheduler import RoundRobin

BLOCK = 320
GLANCE = ms_to_samples(BETWEEN_TURNS_S * 1000)
"""What may arrive while the worker looks for a block in vain."""
STEP = ms_to_samples(300)
"""What a step of somebody else costs."""


@dataclass(slots=True)
class Microphone:
    """Delivers a scene at the pace of a clock that only reading and others' steps move."""

    samples: NDArray[np.int16]
    now: int = 0
    read_to: int = 0
    longest_backlog: int = 0
    description: str = "a microphone"
    dropped_samples: int = 0
    wanted_sample: int = 0
    exhausted: bool = False

    @property
    def backlog(self) -> int:
        """Samples that are there to be read."""
        return min(self.now, self.samples.size) - self.read_to

    def now_sample(self) -> int:
        return self.now

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def read(self, timeout_s: float) -> AudioBlock | None:
        self.longest_backlog = max(self.longest_backlog, self.backlog)
        if self.backlog < BLOCK:
            self.now += ms_to_samples(min(timeout_s * 1000, 20))
            return None
        block = AudioBlock(self.read_to, self.samples[self.read_to : self.read_to + BLOCK])
        self.read_to += BLOCK
        return block


@dataclass(eq=False)
class Other:
    """A client with endless work."""

    microphone: Microphone
    disturbed: list[int] = field(default_factory=list)
    steps: int = 0
    due: bool = True

    def step(self) -> None:
        if self.microphone.backlog >= BLOCK + GLANCE:
            self.disturbed.append(self.microphone.read_to)
        self.steps += 1
        self.microphone.now += STEP


def run(scene: Scene, *, n_others: int) -> tuple[list[str], list[Other], Microphone]:
    """Hear a scene to its end beside others; give the finals."""
    microphone = Microphone(scene.samples)
    others = [Other(microphone) for _ in range(n_others)]
    scheduler = RoundRobin()
    for other in others:
        scheduler.add(other)
    messages: list[MqttMessage] = []
    ends: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    audio_input = AudioInput(lambda: microphone, stall_timeout_s=1000)

    def build() -> Engine:
        stopwatch = TimedTranscriber(FakeTranscriber(words=scene.words))
        pipeline = Pipeline(
            wake=FakeWake(scene.wakes),
            vad=FakeVad(),
            transcriber=stopwatch,
            options=PipelineOptions(),
            now_sample=audio_input.now_sample,
            new_session_id=lambda: "s",
        )
        return Engine(pipeline, stopwatch, None)

    worker = Worker(
        build=build,
        audio_input=audio_input,
        publisher=Publisher(
            publish=messages.append,
            topics=Topics("voice", "test"),
            info=Info("1.0", "fake", ("hey_jarvis",), "default"),
            settings={"mute": False, "wake_threshold": 0.5},
            final_ttl_s=30,
        ),
        silence_alarm_s=None,
        replay=None,
        before_opening=lambda: None,
        on_end=ends.put,
        scheduler=scheduler,
    )
    worker.start()
    while microphone.read_to + BLOCK <= scene.now:
        assert ends.empty(), "the worker ended before"
    assert worker.stop(30)
    finals = [m.payload.decode() for m in messages if m.topic.endswith("transcript/final")]
    return finals, others, microphone


@pytest.mark.parametrize("n_others", [1, 5])
def test_a_session_is_never_later_than_one_step_of_others(n_others: int) -> None:
    scene = Scene().silence(2000).wake().silence(400).say("turn on the lights").silence(3000)
    finals, others, microphone = run(scene, n_others=n_others)
    assert len(finals) == 1
    assert '"text":"turn on the lights"' in finals[0]
    assert all(other.disturbed == [] for other in others)
    assert microphone.longest_backlog < STEP + BLOCK + GLANCE
    steps = [other.steps for other in others]
    assert min(steps) > 0
    assert max(steps) - min(steps) <= 1
