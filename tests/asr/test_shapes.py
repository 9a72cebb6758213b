"""The shapes that a GPU's back end pays for: few of them, and the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from numpy.typing import NDArray

from support.random_whispers import KINDS, random_folder
from voice_daemon.asr import StreamingConfig, StreamingDecoder, WhisperModel, load_model
from voice_daemon.asr.cpu_kernels import attention
from voice_daemon.asr.decoding import GreedyDecoder
from voice_daemon.asr.features import log_mel_spectrogram
from voice_daemon.asr.incremental_encoder import IncrementalEncoder, SilenceCache, silent_window
from voice_daemon.asr.model import suit_gpu
from voice_daemon.asr.offline import N_SAMPLES
from voice_daemon.asr.shapes import row_bucket
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.vocabulary.branches import BranchingDecoder

STEPS_S = (0.1, 0.25, 0.5)
HEARD_S = 4
Shapes = set[tuple[object, ...]]


@pytest.fixture(scope="module")
def padded_tiny(tiny_folder: Path) -> WhisperModel:
    """The bundled tiny.en on a GPU's path, in float32."""
    model = load_model(tiny_folder, dtype="float32")
    suit_gpu(model.encoder, model.decoder)
    return model


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    """A Whisper of narrow layers with random weights: it has shapes, and no words."""
    folder = random_folder(tmp_path_factory.mktemp("narrow"), KINDS["tiny"].dims(width=64))
    return load_model(folder, dtype="float32")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shapes]:
    """The shapes of attention and convolutions that were computed."""
    met: Shapes = set()
    convolve: Callable[[nn.Conv1d, mx.array], mx.array] = nn.Conv1d.__call__

    def counted(q: mx.array, k: mx.array, v: mx.array, **options: Any) -> mx.array:
        mask = options["mask"]
        met.add((q.shape, k.shape, mask.shape if isinstance(mask, mx.array) else mask))
        return attention(q, k, v, **options)

    def counted_convolution(self: nn.Conv1d, x: mx.array) -> mx.array:
        met.add((x.shape, self.weight.shape))
        return convolve(self, x)

    with monkeypatch.context() as patch:
        patch.setattr("voice_daemon.asr.blocks.attention", counted)
        patch.setattr(nn.Conv1d, "__call__", counted_convolution)
        yield met


def stream(model: WhisperModel, silence: SilenceCache, step_s: float) -> None:
    """Encode in steps as a session does, and read a text that grows with the audio."""
    audio = IncrementalEncoder(model, silence, refresh_frames=100, padding_frames=10)
    for n_steps in range(round(HEARD_S / step_s)):
        audio.feed(np.zeros(round(step_s * SAMPLE_RATE), dtype=np.float32))
        audio.encode()
        tokens = mx.zeros((3 + round(4 * step_s * n_steps),), dtype=mx.int32)
        read = model.decoder(tokens, audio.cross)
        mx.eval(model.decoder(tokens[:2], audio.cross, cache=read.cache).hidden)


def test_steps_of_any_size_meet_few_shapes_and_none_after_the_warm_up(
    narrow: WhisperModel, shapes: Shapes
) -> None:
    silence = silent_window(narrow)
    stream(narrow, silence, STEPS_S[1])
    n_exact = len(shapes)
    shapes.clear()
    suit_gpu(narrow.encoder, narrow.decoder)
    config = StreamingConfig(window_s=HEARD_S + 1)
    StreamingDecoder(narrow, config, silence=silence).meet_shapes(within_s=600)
    warm = set(shapes)
    for step_s in STEPS_S:
        stream(narrow, silence, step_s)
    assert shapes == warm
    # All sizes together meet fewer than one of them alone does unpadded.
    assert len(warm) < n_exact


def test_padded_reading_gives_what_exact_reading_gives(
    tiny: WhisperModel,
    padded_tiny: WhisperModel,
    silence: SilenceCache,
    command_speech: NDArray[np.float32],
) -> None:
    readings = []
    for model in (tiny, padded_tiny):
        audio = IncrementalEncoder(model, silence, refresh_frames=60, padding_frames=10)
        greedy, opening = GreedyDecoder(model), model.initial_tokens("en", "transcribe")
        for end in (30_000, 45_000):
            audio.feed(command_speech[audio.n_samples : end])
            n_frames = audio.encode()
        readings.append(greedy.decode(audio.cross, opening, max_tokens=12, n_frames=n_frames))
        audio.feed(command_speech[audio.n_samples :])
        n_frames = audio.encode(everything=True, padding_frames=100)
        readings.append(greedy.decode(audio.cross, opening, max_tokens=12, n_frames=n_frames))
    for exact, padded in zip(readings[:2], readings[2:], strict=True):
        assert padded.tokens == exact.tokens
        np.testing.assert_allclose(padded.logprobs, exact.logprobs, atol=1e-3)
        np.testing.assert_allclose(padded.scores, exact.scores, atol=1e-2)


def test_padded_branches_are_those_of_the_exact_model(
    tiny: WhisperModel,
    padded_tiny: WhisperModel,
    silence: SilenceCache,
    command_speech: NDArray[np.float32],
) -> None:
    found = []
    for model in (tiny, padded_tiny):
        audio = IncrementalEncoder(model, silence, refresh_frames=60, padding_frames=10)
        audio.feed(command_speech)
        audio.encode()
        opening = model.initial_tokens("en", "transcribe")
        tree = BranchingDecoder(model).read(audio.cross, opening, [400])
        n = tree.n_places
        tree.grow([500, 600, 700], [1, 1, 0])
        found.append(tree.grow([400, 500, 600], [n + 2, n, n + 3]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)


def test_a_bucket_holds_its_rows_and_wastes_little() -> None:
    buckets = {n_rows: row_bucket(n_rows, most=1500) for n_rows in range(1, 1501)}
    assert all(n_rows <= bucket for n_rows, bucket in buckets.items())
    assert all(bucket <= 1.25 * n_rows for n_rows, bucket in buckets.items() if n_rows > 128)
    assert len(set(buckets.values())) < 20


def test_a_gpus_final_beside_live_silence_is_what_the_padded_encoder_hears(
    padded_tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    audio = IncrementalEncoder(padded_tiny, silence, refresh_frames=60, padding_frames=10)
    audio.feed(command_speech)
    audio.encode_beside_live_silence()
    window = np.pad(command_speech, (0, N_SAMPLES - len(command_speech)))
    mel = mx.array(log_mel_spectrogram(window, padded_tiny.dims.n_mels))[None]
    reference = padded_tiny.decoder.cross_keys(padded_tiny.encoder(mel)).joint
    mask = np.array(audio.cross.mask).ravel()
    assert (mask == 0).sum() == padded_tiny.dims.n_audio_ctx
    assert (mask[padded_tiny.dims.n_audio_ctx :] < -1000).all()
    ours = audio.cross.joint[:, :, : padded_tiny.dims.n_audio_ctx]
    np.testing.assert_allclose(ours, reference, atol=5e-3)
