"""One utterance between two threads: how it is cut into steps, given up, and how it fails."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np

from rigs.wyoming_servers import COMMAND, fake_recogniser, spoken
from support.fakes import FakeTranscriber
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.runtime.scheduler import RoundRobin
from voice_daemon.wyoming.stream import (
    LONGEST_STEP_S,
    ClientStream,
    Committed,
    Failed,
    Finished,
    Report,
)

HALF_SECOND = np.zeros(8000, np.int16)


@dataclass
class Bench:
    """A stream, its turns, and what it reported."""

    transcriber: FakeTranscriber = field(
        default_factory=lambda: FakeTranscriber(words=COMMAND.split())
    )
    scheduler: RoundRobin = field(default_factory=RoundRobin)
    reports: list[Report] = field(default_factory=list)
    opened_on: list[str] = field(default_factory=list)
    languages: list[str | None] = field(default_factory=list)
    stream: ClientStream = field(init=False)

    def __post_init__(self) -> None:
        recogniser = fake_recogniser(COMMAND.split(), self.new_transcriber)
        self.stream = ClientStream(
            recogniser,
            self.scheduler,
            language="de",
            report=lambda _stream, report: self.reports.append(report),
        )

    def new_transcriber(self, language: str | None) -> FakeTranscriber:
        self.opened_on.append(threading.current_thread().name)
        self.languages.append(language)
        return self.transcriber

    def work(self) -> int:
        n_steps = 0
        while self.scheduler.step() is not None:
            n_steps += 1
        return n_steps


def test_less_than_a_step_of_audio_waits_for_more() -> None:
    bench = Bench()
    bench.stream.feed(HALF_SECOND[:7999])
    assert bench.work() == 0
    bench.stream.feed(HALF_SECOND[:1])
    assert bench.work() == 1
    assert bench.reports == [Committed("")]


def test_who_is_behind_takes_longer_steps_up_to_a_bound() -> None:
    bench = Bench()
    for _ in range(20):
        bench.stream.feed(HALF_SECOND)
    assert bench.work() == round(10 / LONGEST_STEP_S)


def test_an_utterance_gives_its_text_in_parts_and_then_whole() -> None:
    bench = Bench()
    samples = spoken().samples
    for first in range(0, samples.size, 8000):
        bench.stream.feed(samples[first : first + 8000])
        bench.work()
    bench.stream.end()
    bench.work()
    *parts, last = bench.reports
    assert parts
    assert all(isinstance(part, Committed) for part in parts)
    assert isinstance(last, Finished)
    assert last.transcript.text == COMMAND
    assert last.audio_s == samples.size / SAMPLE_RATE
    assert last.steps == len(bench.reports)
    assert bench.languages == ["de"]
    assert not bench.scheduler.due


def test_an_end_without_audio_is_an_empty_text() -> None:
    bench = Bench()
    bench.stream.end()
    bench.work()
    (report,) = bench.reports
    assert isinstance(report, Finished)
    assert report.transcript.text == ""


def test_the_recogniser_is_opened_and_given_up_where_steps_are_taken() -> None:
    bench = Bench()
    bench.stream.feed(HALF_SECOND)
    assert bench.opened_on == []
    bench.work()
    assert bench.opened_on == [threading.current_thread().name]


def test_what_was_cancelled_says_nothing_and_holds_nothing() -> None:
    bench = Bench()
    bench.stream.feed(spoken().samples)
    bench.scheduler.step()
    transcriber = weakref.ref(bench.stream._transcription)
    said = len(bench.reports)
    bench.stream.cancel()
    assert bench.stream.backlog_samples == 0
    assert bench.work() == 1
    assert len(bench.reports) == said
    assert transcriber() is None
    assert not bench.scheduler.due


def test_what_was_cancelled_before_its_first_step_has_no_turn_to_come() -> None:
    bench = Bench()
    bench.stream.feed(spoken().samples)
    bench.stream.cancel()
    assert bench.work() == 0
    assert bench.opened_on == []


def test_a_failure_is_reported_and_touches_nobody_else() -> None:
    bench = Bench(FakeTranscriber(words=COMMAND.split(), fails_at=("step", 1)))
    other = Bench(scheduler=bench.scheduler)
    for stream in (bench.stream, other.stream):
        stream.feed(spoken().samples)
        stream.end()
    bench.work()
    (failed,) = [report for report in bench.reports if not isinstance(report, Committed)]
    assert isinstance(failed, Failed)
    assert failed.error.code == "asr.failed"
    last = other.reports[-1]
    assert isinstance(last, Finished)
    assert last.transcript.text == COMMAND
