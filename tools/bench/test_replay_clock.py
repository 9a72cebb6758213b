"""The simulated clock: when steps begin, and what a slow recogniser does to those after."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from tools.bench.replay import Reading, replay

SECOND = 16_000


@dataclass(slots=True)
class Slow:
    """Computes for the given seconds at each step, and writes down what it was fed."""

    costs_s: list[float]
    has_draft: bool = False
    now_s: float = 100.0
    fed: list[int] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    def start(self, *, step_s: float | None, language: str) -> None:  # noqa: ARG002 - any will do
        self.fed.clear()

    def feed(self, samples: np.ndarray) -> None:
        self.fed.append(len(samples))

    def step(self) -> Reading:
        self.now_s += self.costs_s.pop(0)
        return Reading("word", " draft")

    def finish(self) -> str:
        self.now_s += self.costs_s.pop(0)
        return "words"


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SECOND), np.float32)


def test_a_step_begins_when_its_audio_is_there() -> None:
    slow = Slow([0.1, 0.2, 0.3])
    run = replay(slow, silence(1.2), step_s=0.5, now_s=slow.clock)
    assert [step.start_s for step in run.steps] == [0.5, 1.0]
    assert [step.end_s for step in run.steps] == pytest.approx([0.6, 1.2])
    assert (run.final.audio_s, run.final.end_s) == pytest.approx((1.2, 1.5))
    assert run.compute_s == pytest.approx(0.6)
    assert slow.fed == [SECOND // 2, SECOND // 2, SECOND // 5]


def test_a_step_waits_for_the_one_before() -> None:
    slow = Slow([0.9, 0.1, 0.1])
    run = replay(slow, silence(1.2), step_s=0.5, now_s=slow.clock)
    assert [step.start_s for step in run.steps] == pytest.approx([0.5, 1.4])
    assert run.steps[1].wait_s == pytest.approx(0.4)
    assert run.final.start_s == pytest.approx(1.5)


def test_the_final_takes_the_last_whole_step_too() -> None:
    slow = Slow([0.1, 0.1])
    run = replay(slow, silence(1.0), step_s=0.5, now_s=slow.clock)
    assert len(run.steps) == 1
    assert slow.fed == [SECOND // 2, SECOND // 2]
    assert run.committed == "word"


def test_without_steps_there_is_one_decode_of_the_whole() -> None:
    slow = Slow([0.5])
    run = replay(slow, silence(2), step_s=None, now_s=slow.clock)
    assert run.steps == ()
    assert run.committed == ""
    assert (run.final.text, run.final.end_s) == ("words", 2.5)
