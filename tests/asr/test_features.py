"""Log-mel: parity with faster-whisper, and the same frames however the audio is fed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.asr.features import (
    HOP_SAMPLES,
    SILENCE_LOG10,
    IncrementalLogMel,
    log_mel_spectrogram,
    mel_filters,
    normalise,
)


def noise(n_samples: int, *, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return (random.standard_normal(n_samples, np.float32) * np.float32(level)).astype(np.float32)


def speech_like(n_samples: int) -> NDArray[np.float32]:
    """A gliding tone that comes and goes: a wide range of energies."""
    at_s = np.arange(n_samples) / 16_000
    tone = np.sin(2 * np.pi * (200 + 900 * at_s) * at_s) * np.sin(2 * np.pi * 1.3 * at_s) ** 8
    return np.asarray(0.5 * tone, np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_those_of_faster_whisper(n_mels: int) -> None:
    assert np.abs(mel_filters(n_mels) - FeatureExtractor(n_mels).mel_filters).max() < 1e-7


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n_samples", [400, 1_000, 16_000, 16_123, 50_000])
@pytest.mark.parametrize("make", [noise, speech_like])
def test_whole_buffer_agrees_with_faster_whisper(
    n_mels: int,
    n_samples: int,
    make: Callable[[int], NDArray[np.float32]],
) -> None:
    samples = make(n_samples)
    theirs = FeatureExtractor(n_mels)(samples, padding=0).T
    ours = log_mel_spectrogram(samples, n_mels)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5


def test_padding_is_zeros_as_faster_whisper_pads() -> None:
    samples = speech_like(20_000)
    theirs = FeatureExtractor(80)(samples, padding=16_000).T
    assert np.abs(log_mel_spectrogram(samples, 80, padding_samples=16_000) - theirs).max() < 1e-5


def test_silence_is_the_floor_and_finite() -> None:
    mel = log_mel_spectrogram(np.zeros(16_000, np.float32), 80)
    assert mel.shape == (100, 80)
    assert np.all(mel == np.float32((SILENCE_LOG10 + 4) / 4))


@pytest.mark.parametrize("n_samples", [0, 1, 159])
def test_less_than_a_hop_has_no_frames(n_samples: int) -> None:
    assert log_mel_spectrogram(noise(n_samples), 80).shape == (0, 80)


@pytest.mark.parametrize("samples", [np.zeros((2, 400), np.float32), np.zeros(400, np.int16)])
def test_other_shapes_and_types_are_refused(samples: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="float32"):
        log_mel_spectrogram(samples, 80)
    with pytest.raises(ValueError, match="float32"):
        IncrementalLogMel(80).feed(samples)


@st.composite
def splittings(draw: st.DrawFn) -> list[int]:
    """Sizes of blocks, from nothing through single samples to seconds."""
    size = st.one_of(st.integers(0, 3), st.integers(0, 500), st.integers(0, 9_000))
    return draw(st.lists(size, max_size=12))


@given(splittings())
@settings(max_examples=80, deadline=None)
def test_any_splitting_gives_the_whole_buffers_frames(sizes: list[int]) -> None:
    samples = noise(sum(sizes))
    mel = IncrementalLogMel(80)
    at = 0
    for size in sizes:
        mel.feed(samples[at : at + size])
        at += size
        mel.raw(0, mel.n_touched)  # looking at the tail must change nothing
    n_frames = (len(samples) + 16_000) // HOP_SAMPLES
    raw = mel.raw(0, n_frames)
    whole = log_mel_spectrogram(samples, 80, padding_samples=16_000)
    np.testing.assert_array_equal(normalise(raw, loudest=float(raw.max())), whole)


@given(st.integers(1, 5_000))
@settings(max_examples=60, deadline=None)
def test_complete_frames_do_not_change_with_what_follows(n_samples: int) -> None:
    samples = noise(n_samples + 2_000)
    mel = IncrementalLogMel(80)
    mel.feed(samples[:n_samples])
    complete = mel.raw(0, mel.n_frames)
    mel.feed(samples[n_samples:])
    np.testing.assert_array_equal(mel.raw(0, len(complete)), complete)


def test_frame_counts_follow_the_windows() -> None:
    mel = IncrementalLogMel(80)
    assert (mel.n_frames, mel.n_touched) == (0, 0)
    mel.feed(noise(200))
    assert (mel.n_frames, mel.n_touched) == (0, 3)
    mel.feed(noise(1))
    assert mel.n_frames == 1
    mel.feed(noise(159))
    assert mel.n_frames == 2
    mel.feed(noise(16_000 - 360))
    assert (mel.n_frames, mel.n_touched) == (99, 102)


def test_frames_past_the_end_are_silence() -> None:
    mel = IncrementalLogMel(80)
    mel.feed(noise(1_000))
    assert np.all(mel.raw(mel.n_touched, mel.n_touched + 5) == SILENCE_LOG10)
    assert np.all(mel.raw(0, mel.n_touched)[-1] > SILENCE_LOG10)


def test_trimming_keeps_the_indices_and_forgets_the_rest() -> None:
    mel = IncrementalLogMel(80)
    mel.feed(noise(32_000))
    kept = mel.raw(120, 210)
    mel.trim(120)
    assert mel.first_frame == 120
    np.testing.assert_array_equal(mel.raw(120, 210), kept)
    with pytest.raises(IndexError, match="held from 120"):
        mel.raw(119, 150)
    mel.feed(noise(16_000, seed=1))
    np.testing.assert_array_equal(mel.raw(120, 190), kept[:70])
    mel.trim(100)
    assert mel.first_frame == 120


def test_trimming_bounds_the_memory_of_an_endless_feed() -> None:
    mel = IncrementalLogMel(80)
    for seed in range(100):
        mel.feed(noise(16_000, seed=seed))
        mel.trim(mel.n_frames - 300)
    assert mel.n_frames - mel.first_frame == 300
    assert len(mel._rows) <= 512


def test_reset_starts_again_at_sample_zero() -> None:
    mel, fresh = IncrementalLogMel(80), IncrementalLogMel(80)
    mel.feed(noise(5_000))
    mel.reset()
    for extractor in (mel, fresh):
        extractor.feed(noise(3_000, seed=7))
    assert mel.n_frames == fresh.n_frames
    np.testing.assert_array_equal(mel.raw(0, 25), fresh.raw(0, 25))
