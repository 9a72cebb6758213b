"""Joining clips into minutes of speech, and what is said of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.bench.clips import Clip
from tools.bench.long_speech import LongRun, Step, joined, table
from voice_daemon.errors import UsageError

RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    for name, seconds in (("a", 1), ("b", 2)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(seconds * RATE, 0.1), RATE)
    return [
        Clip(tmp_path / "a.wav", "f", text="turn on"),
        Clip(tmp_path / "b.wav", "f", text="the light"),
        Clip(tmp_path / "b.wav", "f", text=None),
    ]


def test_clips_come_again_until_the_time_is_full(clips: list[Clip]) -> None:
    samples, words = joined(clips, seconds=4)
    assert words == ("turn", "on", "the", "light", "turn", "on")
    assert len(samples) == round((1 + 2 + 1 + 3 * 0.4) * RATE)


def test_without_a_transcript_there_is_nothing_to_measure(clips: list[Clip]) -> None:
    with pytest.raises(UsageError):
        joined(clips[2:], seconds=1)


def test_every_minute_has_its_row() -> None:
    steps = tuple(Step(0.5 * n, 0.1, 400) for n in range(1, 241))
    run = LongRun(steps, 120.0, 0.2, "turn on", "turn off", ("turn", "on"), 0)
    shown = table(run)
    assert [row[0] for row in shown.rows] == ["1", "2"]
    assert "0.0 %, by offline windows 50.0 % of 2 words" in shown.note
