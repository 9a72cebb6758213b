"""Raw audio of every kind becomes int16 mono at 16 kHz."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.errors import WyomingError
from voice_daemon.wyoming.pcm import PcmConverter, PcmFormat

Int16s = NDArray[np.int16]


def tone(rate_hz: int, seconds: float = 0.5) -> NDArray[np.float64]:
    """A soft tone of 440 Hz, (n,) in [-0.5, 0.5]."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)


def packed(samples: NDArray[np.float64], width_bytes: int) -> bytes:
    """Write samples in [-1, 1) as a WAV file has them."""
    if width_bytes == 1:
        return (samples * 128 + 128).astype(np.uint8).tobytes()
    wide = (samples * 2**31).astype("<i4")
    if width_bytes == 4:
        return wide.tobytes()
    low = wide.view(np.uint8).reshape(-1, 4)[:, 4 - width_bytes :]
    return low.tobytes()


def converted(pcm: PcmFormat, audio: bytes, *, piece: int | None = None) -> Int16s:
    converter = PcmConverter(pcm)
    piece = piece or max(1, len(audio))
    parts = [converter.feed(audio[at : at + piece]) for at in range(0, len(audio), piece)]
    return np.concatenate([np.zeros(0, np.int16), *parts, converter.finish()])


@pytest.mark.parametrize("width_bytes", [1, 2, 3, 4])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_width_and_rate_gives_the_same_sound(width_bytes: int, rate_hz: int) -> None:
    heard = converted(PcmFormat(rate_hz, width_bytes, 1), packed(tone(rate_hz), width_bytes))
    wanted = tone(16_000) * 32768
    assert abs(heard.size - wanted.size) <= 1
    middle = slice(800, 7000)
    difference = heard[middle] - wanted[middle]
    assert np.sqrt(np.mean(difference**2)) < 32768 * 0.01


def test_channels_are_averaged() -> None:
    left = np.array([1000, -2000, 30000, 7], "<i2")
    right = np.array([3000, -4000, 30000, 7], "<i2")
    audio = np.stack([left, right], axis=1).tobytes()
    assert converted(PcmFormat(16_000, 2, 2), audio).tolist() == [2000, -3000, 30000, 7]


def test_our_own_format_passes_unchanged() -> None:
    samples = np.arange(-32768, 32768, 7, dtype="<i2")
    assert np.array_equal(converted(PcmFormat(16_000, 2, 1), samples.tobytes()), samples)


@given(st.integers(1, 700), st.sampled_from([(16_000, 2, 2), (16_000, 3, 1), (16_000, 1, 3)]))
def test_chunks_may_end_inside_a_sample(piece: int, kind: tuple[int, int, int]) -> None:
    pcm = PcmFormat(*kind)
    audio = bytes(np.random.default_rng(1).integers(0, 256, 4800, np.uint8))
    assert np.array_equal(converted(pcm, audio, piece=piece), converted(pcm, audio))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"rate": 16_000, "width": 2},
        {"rate": 0, "width": 2, "channels": 1},
        {"rate": 16_000, "width": 0, "channels": 1},
        {"rate": 16_000, "width": 2, "channels": 0},
        {"rate": 16_000, "width": 2, "channels": -1},
        {"rate": 10**12, "width": 2, "channels": 1},
        {"rate": 16_000.0, "width": 2, "channels": 1},
        {"rate": True, "width": 2, "channels": 1},
        {"rate": "16000", "width": 2, "channels": 1},
        {"rate": [[[]]], "width": 2, "channels": 1},
        {"rate": 16_000, "width": 8, "channels": 1},
    ],
)
def test_a_format_that_cannot_be_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(WyomingError) as refusal:
        PcmFormat.of(data)
    assert refusal.value.code == "wyoming.audio_format"
