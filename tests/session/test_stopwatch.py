"""Effort of the recogniser, with a clock that counts."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from support.fakes import FakeTranscriber
from voice_daemon.session.metrics import ComputeCost, TimedTranscriber


def test_it_counts_compute_audio_and_steps_and_starts_over() -> None:
    ticks = count()
    stopwatch = TimedTranscriber(FakeTranscriber(words=[]), clock=lambda: float(next(ticks)))
    stopwatch.start(wake_phrase=None)
    stopwatch.feed(np.zeros(16_000, np.int16))
    stopwatch.step()
    stopwatch.step()
    stopwatch.finish()
    stopwatch.reset()
    assert stopwatch.take() == ComputeCost(compute_s=6.0, audio_s=1.0, steps=2)
    assert stopwatch.take() == ComputeCost()


def test_a_call_that_fails_counts_too() -> None:
    ticks = count()
    broken = FakeTranscriber(words=[], fails_at=("step", 1))
    stopwatch = TimedTranscriber(broken, clock=lambda: float(next(ticks)))
    stopwatch.start(wake_phrase=None)
    with pytest.raises(RuntimeError):
        stopwatch.step()
    assert stopwatch.take() == ComputeCost(compute_s=2.0, steps=1)


def test_it_passes_everything_on() -> None:
    transcriber = FakeTranscriber(words=[])
    stopwatch = TimedTranscriber(transcriber)
    stopwatch.start(wake_phrase="Hey Jarvis")
    stopwatch.step()
    stopwatch.finish()
    stopwatch.reset()
    assert transcriber.calls == ["start", "step", "finish", "reset"]
    assert transcriber.wake_phrases == ["Hey Jarvis"]


def test_the_real_time_factor_of_no_audio_is_unknown() -> None:
    assert ComputeCost().rtf is None
    assert ComputeCost(compute_s=0.5, audio_s=2.0).rtf == 0.25
