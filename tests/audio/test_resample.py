"""Rates, gain and sample formats."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.audio.resample import (
    BlockConverter,
    StreamResampler,
    apply_gain,
    to_float,
    to_int16,
)
from voice_daemon.events import SAMPLE_RATE, AudioBlock

TONE_HZ = 440


def tone(rate_hz: int, n_samples: int) -> NDArray[np.float32]:
    wave = np.sin(2 * np.pi * TONE_HZ * np.arange(n_samples) / rate_hz) / 2
    return wave.astype(np.float32)


def converted(
    samples: NDArray[np.int16], *, rate_hz: int, block_samples: int, gain_db: float = 0
) -> list[AudioBlock]:
    converter = BlockConverter(rate_hz=rate_hz, gain_db=gain_db)
    blocks = (
        converter.feed(at, samples[at : at + block_samples])
        for at in range(0, len(samples), block_samples)
    )
    return [block for block in blocks if block is not None]


def test_int16_comes_back_unchanged() -> None:
    everything = np.arange(-32_768, 32_768, dtype=np.int16)
    assert np.array_equal(to_int16(to_float(everything)), everything)


def test_what_is_too_loud_is_clipped() -> None:
    assert to_int16(np.array([2.0, -2.0, 1.0, 0.5], np.float32)).tolist() == [
        32_767,
        -32_768,
        32_767,
        16_384,
    ]


def test_gain_is_in_decibels() -> None:
    louder = apply_gain(np.array([0.1, -0.1], np.float32), 20)
    assert louder == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_resampled_stream_keeps_its_length_and_its_place(rate_hz: int) -> None:
    resampler = StreamResampler(rate_hz)
    audio = tone(rate_hz, 2 * rate_hz)
    pieces = [resampler.feed(audio[at : at + 441]) for at in range(0, len(audio), 441)]
    out = np.concatenate([*pieces, resampler.finish()])
    assert len(out) == 2 * SAMPLE_RATE
    middle = slice(SAMPLE_RATE // 2, 3 * SAMPLE_RATE // 2)
    assert out[middle] == pytest.approx(tone(SAMPLE_RATE, 2 * SAMPLE_RATE)[middle], abs=1e-4)


@given(cuts=st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_resampling_does_not_depend_on_the_blocks(cuts: list[int]) -> None:
    audio = tone(44_100, 20_000)
    whole, pieces = StreamResampler(44_100), StreamResampler(44_100)
    expected = np.concatenate((whole.feed(audio), whole.finish()))
    edges = sorted({0, len(audio), *(sum(cuts[:n]) % len(audio) for n in range(len(cuts)))})
    parts = [pieces.feed(audio[first:end]) for first, end in pairwise(edges)]
    assert np.array_equal(np.concatenate([*parts, pieces.finish()]), expected)


def test_blocks_at_our_rate_pass_bit_for_bit() -> None:
    samples = np.random.default_rng(1).integers(-32_768, 32_768, 3200).astype(np.int16)
    blocks = converted(samples, rate_hz=SAMPLE_RATE, block_samples=320)
    assert [block.first_sample for block in blocks] == list(range(0, 3200, 320))
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), samples)


def test_blocks_at_another_rate_follow_one_another() -> None:
    blocks = converted(to_int16(tone(44_100, 44_100)), rate_hz=44_100, block_samples=882)
    assert blocks[0].first_sample == 0
    for earlier, later in pairwise(blocks):
        assert later.first_sample == earlier.first_sample + len(earlier.samples)


def test_lost_audio_stays_a_gap_at_another_rate() -> None:
    converter = BlockConverter(rate_hz=48_000, gain_db=0)
    audio = to_int16(tone(48_000, 48_000))
    before = [converter.feed(at, audio[at : at + 960]) for at in range(0, 9600, 960)]
    after = [converter.feed(at, audio[at : at + 960]) for at in range(24_000, 48_000, 960)]
    heard = [block for block in before if block is not None]
    resumed = [block for block in after if block is not None]
    assert resumed[0].first_sample == SAMPLE_RATE // 2
    assert heard[-1].first_sample + len(heard[-1].samples) <= 9600 * SAMPLE_RATE // 48_000
    at = resumed[0].first_sample + 2000
    out = np.concatenate([block.samples for block in resumed])[2000:4000]
    expected = to_int16(tone(SAMPLE_RATE, SAMPLE_RATE))[at : at + 2000]
    assert np.abs(out.astype(int) - expected).max() <= 3


def test_gain_makes_blocks_louder_and_clips_them() -> None:
    samples = np.array([1000, -1000, 30_000, -30_000], np.int16)
    (block,) = converted(samples, rate_hz=SAMPLE_RATE, block_samples=4, gain_db=20)
    assert block.samples.tolist() == [10_000, -10_000, 32_767, -32_768]
