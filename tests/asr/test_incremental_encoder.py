"""Encoding beside cached silence, against the padded reference encoder."""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.asr import WhisperModel
from voice_daemon.asr.blocks import between
from voice_daemon.asr.cooperative import at_once
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.incremental_encoder import (
    FRAME_SAMPLES,
    IncrementalEncoder,
    SilenceCache,
    live_silence,
)
from voice_daemon.asr.offline import N_SAMPLES


@pytest.fixture(scope="module")
def padded_mel(tiny: WhisperModel, command_speech: NDArray[np.float32]) -> mx.array:
    """(1, 3000, n_mels): the clip as the reference path sees it."""
    padded = np.pad(command_speech, (0, N_SAMPLES - len(command_speech)))
    return mx.array(log_mel_spectrogram(padded, tiny.dims.n_mels))[None]


def context(
    tiny: WhisperModel, silence: SilenceCache, *, refresh_frames: int = 50
) -> IncrementalEncoder:
    return IncrementalEncoder(tiny, silence, refresh_frames=refresh_frames, padding_frames=10)


@pytest.mark.parametrize(("first", "end"), [(0, 60), (37, 90), (1000, 1010)])
def test_frames_encoded_inside_their_own_context_equal_the_reference(
    tiny: WhisperModel, padded_mel: mx.array, first: int, end: int
) -> None:
    reference, keys = tiny.encoder.with_keys(padded_mel)
    margin = 1 if first else 0
    frames, grown = at_once(
        tiny.encoder.with_context(
            padded_mel[:, 2 * (first - margin) : 2 * (end + 1)],
            [
                partial(between, before if first else None, after)
                for before, after in ((layer[:, :, :first], layer[:, :, end:]) for layer in keys)
            ],
            mx.zeros((1, 1, 1, tiny.dims.n_audio_ctx)),
            first=first,
        )
    )
    np.testing.assert_allclose(frames, reference[:, first:end], atol=2e-3)
    for layer, same in zip(keys, grown, strict=True):
        np.testing.assert_allclose(same, layer, atol=2e-3)


def test_the_text_beside_cached_silence_is_that_of_the_padded_encoder(
    tiny: WhisperModel,
    silence: SilenceCache,
    padded_mel: mx.array,
    command_speech: NDArray[np.float32],
) -> None:
    greedy, initial_tokens = GreedyDecoder(tiny), tiny.initial_tokens("en", "transcribe")
    audio = context(tiny, silence)
    audio.feed(command_speech)
    n_frames = audio.encode(everything=True, padding_frames=25)
    ours = greedy.decode(audio.cross, initial_tokens, max_tokens=60, n_frames=n_frames)
    cross = tiny.decoder.cross_keys(tiny.encoder(padded_mel))
    reference = greedy.decode(cross, initial_tokens, max_tokens=60, n_frames=n_frames)
    assert ours.tokens == reference.tokens
    np.testing.assert_allclose(ours.logprobs, reference.logprobs, atol=0.5)


def test_pooled_silence_covers_the_rest_of_the_window(
    tiny: WhisperModel, silence: SilenceCache
) -> None:
    audio = context(tiny, silence)
    audio.feed(np.zeros(10 * FRAME_SAMPLES, dtype=np.float32))
    end = audio.encode(everything=True, padding_frames=2)
    n_silent = (tiny.dims.n_audio_ctx - silence.n_edge) // silence.pool + silence.n_edge - 3
    assert audio.cross.joint.shape[2] == end + 2 + n_silent


def test_the_end_of_the_window_leaves_no_silence(tiny: WhisperModel, silence: SilenceCache) -> None:
    audio = context(tiny, silence)
    audio.feed(np.zeros(N_SAMPLES, dtype=np.float32))
    assert audio.encode(everything=True) == tiny.dims.n_audio_ctx
    assert audio.cross.joint.shape[2] == tiny.dims.n_audio_ctx


def test_the_audio_is_counted_in_whole_frames(tiny: WhisperModel, silence: SilenceCache) -> None:
    audio = context(tiny, silence)
    audio.feed(np.zeros(10 * FRAME_SAMPLES + 7, dtype=np.float32))
    assert audio.encode(everything=True) == 10
    assert audio.n_samples == 10 * FRAME_SAMPLES + 7


def test_encoding_in_steps_ends_near_encoding_at_once(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    whole = context(tiny, silence)
    whole.feed(command_speech)
    n_frames = whole.encode(everything=True, padding_frames=10)
    steps = context(tiny, silence, refresh_frames=1500)
    for first in range(0, len(command_speech), 8000):
        steps.feed(command_speech[first : first + 8000])
        steps.encode()
    steps.encode(everything=True, padding_frames=10)
    same, keys = steps.cross.joint, whole.cross.joint
    np.testing.assert_allclose(same[:, :, :n_frames], keys[:, :, :n_frames], atol=5e-2)


def test_a_step_takes_the_silence_in_less_detail(silence: SilenceCache) -> None:
    coarse = silence.coarser(4)
    fine = np.array(silence.encoder[1])[:, :, :4]
    assert coarse.pool == 4 * silence.pool
    np.testing.assert_allclose(np.array(coarse.encoder[1])[:, :, 0], fine.mean(axis=2), atol=1e-5)


def test_the_last_frames_of_cached_silence_are_their_own(
    tiny: WhisperModel, silence: SilenceCache
) -> None:
    n_window = tiny.dims.n_audio_ctx
    assert np.exp(silence.weights()).sum() == pytest.approx(n_window)
    assert np.array_equal(silence.weights()[-silence.n_edge :], np.zeros(silence.n_edge))
    kept = [silence.n_keys - silence.n_until(end) for end in (n_window - 4, n_window - 8, n_window)]
    assert kept == [silence.n_edge, silence.n_edge + 1, 0]


def test_a_window_that_is_encoded_whole_is_the_padded_encoders(
    tiny: WhisperModel,
    silence: SilenceCache,
    padded_mel: mx.array,
    command_speech: NDArray[np.float32],
) -> None:
    audio = context(tiny, silence)
    audio.feed(command_speech)
    audio.encode(everything=True, padding_frames=tiny.dims.n_audio_ctx)
    reference = tiny.decoder.cross_keys(tiny.encoder(padded_mel))
    np.testing.assert_allclose(audio.cross.joint, reference.joint, atol=1e-3)


def test_live_silence_brings_the_audio_nearer_to_the_padded_encoders(
    tiny: WhisperModel,
    silence: SilenceCache,
    padded_mel: mx.array,
    command_speech: NDArray[np.float32],
) -> None:
    audio = context(tiny, silence)
    audio.feed(command_speech)
    reference = np.array(tiny.decoder.cross_keys(tiny.encoder(padded_mel)).joint)

    def error(n_frames: int) -> float:
        keys = np.array(audio.cross.joint)[:, :, :n_frames]
        return float(np.abs(keys - reference[:, :, :n_frames]).mean())

    cached = error(audio.encode(everything=True, padding_frames=100))
    assert error(audio.encode_beside_live_silence()) < 0.7 * cached
    audio.encode()
    # Its keys of the audio serve the next step, and what is read then is what was read before.
    assert audio.cross.joint.shape[2] < audio.n_frames + 10 + 375


@pytest.mark.parametrize("first", [0, 130, 1471, 1495, 1498])
def test_live_silence_stands_for_all_of_it(first: int) -> None:
    places, n_frames = live_silence(first, 1500)
    assert n_frames.sum() == 1500 - first
    assert places == sorted(set(places))
    assert (places[0] >= first, places[-1]) == (True, 1499)


@pytest.mark.parametrize("n_left", [0, 3, 25, 26, 400])
def test_live_silence_takes_the_frames_that_it_says(
    tiny: WhisperModel, silence: SilenceCache, n_left: int
) -> None:
    audio = context(tiny, silence)
    audio.feed(np.zeros((tiny.dims.n_audio_ctx - n_left) * FRAME_SAMPLES, dtype=np.float32))
    assert audio.encode_beside_live_silence() == tiny.dims.n_audio_ctx - n_left
    n_keys = audio.cross.joint.shape[2]
    assert n_keys == audio.n_to_encode(live=True, padding_frames=0)
