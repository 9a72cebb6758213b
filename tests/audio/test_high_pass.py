"""The high-pass filter on tones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.audio.resample import HighPass
from voice_daemon.events import SAMPLE_RATE


def tone(hz: float, *, offset: float = 0.0) -> NDArray[np.int16]:
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return np.rint(8000 * np.sin(2 * np.pi * hz * seconds) + offset).astype(np.int16)


def gain_db(hz: float) -> float:
    out = HighPass().feed(tone(hz))[SAMPLE_RATE // 2 :]
    return float(20 * np.log10(np.sqrt(np.mean(np.square(out))) / (8000 / np.sqrt(2))))


@pytest.mark.parametrize(("hz", "least_db", "most_db"), [(20, -60, -25), (50, -20, -12)])
def test_rumble_and_hum_are_damped(hz: float, least_db: float, most_db: float) -> None:
    assert least_db < gain_db(hz) < most_db


@pytest.mark.parametrize("hz", [300, 1000, 4000])
def test_voice_passes(hz: float) -> None:
    assert gain_db(hz) == pytest.approx(0, abs=2)


def test_an_offset_is_gone() -> None:
    out = HighPass().feed(tone(1000, offset=10_000))[SAMPLE_RATE // 2 :]
    assert abs(float(out.mean())) < 1


@given(st.lists(st.integers(0, 1500), max_size=8))
def test_the_blocks_leave_no_trace(sizes: list[int]) -> None:
    samples = tone(440)[: sum(sizes)]
    split = HighPass()
    pieces = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    parts = [np.zeros(0), *(split.feed(piece) for piece in pieces)]
    assert np.allclose(np.concatenate(parts), HighPass().feed(samples), atol=1e-6)
