"""One utterance between two threads: how it is cut into steps, given up, and how it fails."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from rigs.wyoming_servers import COMMAND, fake_recogniser, spoken
from support.fakes import FakeTranscriber, Scene
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.session.scheduler import RoundRobin
from voice_daemon.wyoming.stream import (
    CAREFUL_SILENCE_S,
    LONGEST_STEP_S,
    MAX_HOSTS,
    ClientStream,
    Committed,
    Endpointing,
    Failed,
    Finished,
    Habits,
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
    endpointing: Endpointing = Endpointing.CLIENT
    now_s: float = 0.0
    stream: ClientStream = field(init=False)

    def __post_init__(self) -> None:
        recogniser = fake_recogniser(COMMAND.split(), self.new_transcriber)
        self.stream = ClientStream(
            recogniser,
            self.scheduler,
            language="de",
            report=lambda _stream, report: self.reports.append(report),
            endpointing=self.endpointing,
            clock_s=lambda: self.now_s,
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

    def hear_live(self, samples: NDArray[np.int16], *, chunk: int = 320) -> float:
        """Feed audio as fast as it plays, until a final; the second of the audio where it came."""
        for first in range(0, samples.size, chunk):
            self.stream.feed(samples[first : first + chunk])
            self.now_s += chunk / SAMPLE_RATE
            self.work()
            if self.reports and isinstance(self.reports[-1], Finished):
                break
        return self.now_s


SPOKEN_TO_S = spoken().samples.size / SAMPLE_RATE - 0.9
"""Where the command of `spoken` ends, and the silence behind it begins."""


def with_a_long_silence() -> NDArray[np.int16]:
    return np.concatenate([spoken().samples, Scene().silence(9000).samples])


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
    bench = Bench(FakeTranscriber(words=COMMAND.split(), fails_at=("finish", 1)))
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


def test_a_command_ends_at_its_pause_for_a_client_that_takes_it() -> None:
    bench = Bench(endpointing=Endpointing.OWN)
    over_s = bench.hear_live(with_a_long_silence())
    last = bench.reports[-1]
    assert isinstance(last, Finished)
    assert last.transcript.text == COMMAND
    assert 0.5 < over_s - SPOKEN_TO_S < 1.1


def test_a_client_that_is_not_known_ends_its_command_itself_unless_it_never_does() -> None:
    bench = Bench(endpointing=Endpointing.CAREFUL)
    over_s = bench.hear_live(with_a_long_silence())
    assert isinstance(bench.reports[-1], Finished)
    assert CAREFUL_SILENCE_S <= over_s - SPOKEN_TO_S < CAREFUL_SILENCE_S + 0.3


@pytest.mark.parametrize("endpointing", [Endpointing.OWN, Endpointing.CAREFUL])
def test_a_file_that_is_sent_ahead_is_read_to_its_end(endpointing: Endpointing) -> None:
    bench = Bench(endpointing=endpointing)
    twice = np.concatenate([with_a_long_silence(), spoken().samples])
    for first in range(0, twice.size, 8000):
        bench.stream.feed(twice[first : first + 8000])
        bench.work()
    assert not any(isinstance(report, Finished) for report in bench.reports)
    bench.stream.end()
    bench.work()
    assert isinstance(bench.reports[-1], Finished)


def test_nobody_spoke_is_an_empty_text_after_a_while() -> None:
    bench = Bench(endpointing=Endpointing.OWN)
    over_s = bench.hear_live(Scene().silence(9000).samples)
    last = bench.reports[-1]
    assert isinstance(last, Finished)
    assert last.transcript.text == ""
    assert over_s < 6


def test_a_host_is_known_by_what_it_last_did() -> None:
    habits = Habits(ends_utterances=True)
    assert habits.of("a") is Endpointing.CAREFUL
    habits.note("a", took_it=True)
    assert habits.of("a") is Endpointing.OWN
    habits.note("a", took_it=False)
    assert habits.of("a") is Endpointing.CAREFUL
    for number in range(2 * MAX_HOSTS):
        habits.note(f"host {number}", took_it=True)
    assert habits.of("host 0") is Endpointing.CAREFUL
    assert Habits(ends_utterances=False).of("a") is Endpointing.CLIENT
