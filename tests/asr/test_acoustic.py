"""Encoding beside cached silence, against the padded reference encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
import pytest

from voice_daemon.asr.acoustic import FRAME_SAMPLES, AcousticContext, Context, silent_window
from voice_daemon.asr.decoding import N_SAMPLES, GreedyDecoder
from voice_daemon.asr.features import log_mel_spectrogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from voice_daemon.asr import WhisperModel


@pytest.fixture(scope="module")
def silence(tiny: WhisperModel) -> Context:
    """The silent window, encoded once."""
    return silent_window(tiny)


@pytest.fixture(scope="module")
def padded_mel(tiny: WhisperModel, command_speech: NDArray[np.float32]) -> mx.array:
    """(1, 3000, n_mels): the clip as the reference path sees it."""
    padded = np.pad(command_speech, (0, N_SAMPLES - len(command_speech)))
    return mx.array(log_mel_spectrogram(padded, tiny.dims.n_mels))[None]


def context(tiny: WhisperModel, silence: Context, *, refresh_frames: int = 50) -> AcousticContext:
    return AcousticContext(tiny, silence, refresh_frames=refresh_frames, padding_frames=10)


@pytest.mark.parametrize(("first", "end"), [(0, 60), (37, 90), (1000, 1010)])
def test_frames_encoded_inside_their_own_context_equal_the_reference(
    tiny: WhisperModel, padded_mel: mx.array, first: int, end: int
) -> None:
    reference, keys = tiny.encoder.with_keys(padded_mel)
    margin = 0 if first == 0 else 1
    piece = padded_mel[:, 2 * (first - margin) : 2 * (end + 1)]
    frames, regrown = tiny.encoder.within(piece, keys, first, margin=margin)
    np.testing.assert_allclose(frames, reference[:, first:end], atol=2e-3)
    for (k, v), (same_k, same_v) in zip(keys, regrown, strict=True):
        np.testing.assert_allclose(same_k, k, atol=2e-3)
        np.testing.assert_allclose(same_v, v, atol=2e-3)


def test_the_text_beside_cached_silence_is_that_of_the_padded_encoder(
    tiny: WhisperModel,
    silence: Context,
    padded_mel: mx.array,
    command_speech: NDArray[np.float32],
) -> None:
    greedy, opening = GreedyDecoder(tiny), tiny.opening("en", "transcribe")
    audio = context(tiny, silence)
    audio.feed(command_speech)
    n_frames = audio.encode(everything=True, padding_frames=25)
    ours = greedy.decode(audio.cross, opening, max_tokens=60, n_frames=n_frames)
    cross = tiny.decoder.cross_keys(tiny.encoder(padded_mel))
    reference = greedy.decode(cross, opening, max_tokens=60, n_frames=n_frames)
    assert ours.tokens == reference.tokens
    np.testing.assert_allclose(ours.logprobs, reference.logprobs, atol=0.5)


def test_the_audio_is_counted_in_whole_frames(tiny: WhisperModel, silence: Context) -> None:
    audio = context(tiny, silence)
    audio.feed(np.zeros(10 * FRAME_SAMPLES + 7, dtype=np.float32))
    assert audio.encode(everything=True) == 10
    assert audio.n_samples == 10 * FRAME_SAMPLES + 7


def test_encoding_in_steps_ends_near_encoding_at_once(
    tiny: WhisperModel, silence: Context, command_speech: NDArray[np.float32]
) -> None:
    whole = context(tiny, silence)
    whole.feed(command_speech)
    n_frames = whole.encode(everything=True, padding_frames=10)
    steps = context(tiny, silence, refresh_frames=1500)
    for first in range(0, len(command_speech), 8000):
        steps.feed(command_speech[first : first + 8000])
        steps.encode()
    steps.encode(everything=True, padding_frames=10)
    for (k, _), (same_k, _) in zip(whole.cross, steps.cross, strict=True):
        np.testing.assert_allclose(same_k[:, :, :n_frames], k[:, :, :n_frames], atol=5e-2)
