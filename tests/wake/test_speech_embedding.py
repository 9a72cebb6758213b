"""The embedding over a stream is that of openWakeWord's graphs over whole windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.errors import ModelError
from voice_daemon.wake.models import EMBEDDING, MELSPECTROGRAM, bundled_folder, load_graph
from voice_daemon.wake.onnx_weights import read_onnx_weights
from voice_daemon.wake.speech_embedding import (
    EMBEDDING_SIZE,
    MEL_STEP,
    N_MELS,
    WAKE_FRAME_SAMPLES,
    WINDOW_STEPS,
    MelSpectrogram,
    StreamingEmbedding,
)

MEL_FILE = bundled_folder() / f"{MELSPECTROGRAM}.onnx"
EMBEDDING_FILE = bundled_folder() / f"{EMBEDDING}.onnx"
WINDOW = 76
CONTEXT = 480


@pytest.fixture(scope="module")
def speech(demo_clip: Path) -> NDArray[np.int16]:
    samples = to_int16(load_audio(demo_clip))
    return samples[: len(samples) // WAKE_FRAME_SAMPLES * WAKE_FRAME_SAMPLES]


def mels_of(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    spectrogram = MelSpectrogram(MEL_FILE)
    return np.concatenate([spectrogram.feed(f) for f in samples.reshape(-1, WAKE_FRAME_SAMPLES)])


def test_mel_frames_are_those_of_openwakewords_graph(speech: NDArray[np.int16]) -> None:
    graph = load_graph(MEL_FILE)
    padded = np.concatenate((np.zeros(CONTEXT, np.int16), speech)).astype(np.float32)
    for n, mels in enumerate(mels_of(speech).reshape(-1, MEL_STEP, N_MELS)):
        first = n * WAKE_FRAME_SAMPLES
        window = padded[first : first + CONTEXT + WAKE_FRAME_SAMPLES]
        expected = graph.run(window[np.newaxis]).reshape(-1, N_MELS) / 10 + 2
        np.testing.assert_allclose(mels, expected, atol=1e-4)


def test_embeddings_are_those_of_whole_windows(speech: NDArray[np.int16]) -> None:
    graph, network = load_graph(EMBEDDING_FILE), StreamingEmbedding(EMBEDDING_FILE)
    mels = mels_of(speech)
    worst = 0.0
    for end in range(MEL_STEP, len(mels) + 1, MEL_STEP):
        embedding = network.feed(mels[end - MEL_STEP : end])
        if end >= WINDOW:
            expected = graph.run(mels[np.newaxis, end - WINDOW : end, :, np.newaxis])
            worst = max(worst, float(np.abs(embedding - expected.ravel()).max()))
    assert worst < 1e-4


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), before=st.integers(0, 3))
def test_what_was_heard_long_ago_leaves_no_trace(seed: int, before: int) -> None:
    noise = np.random.default_rng(seed)
    network = StreamingEmbedding(EMBEDDING_FILE)
    steps = noise.normal(2, 2, (WINDOW_STEPS, MEL_STEP, N_MELS)).astype(np.float32)
    fresh = [network.feed(step) for step in steps][-1]
    for _ in range(before):
        network.feed(noise.normal(5, 5, (MEL_STEP, N_MELS)).astype(np.float32))
    again = [network.feed(step) for step in steps][-1]
    np.testing.assert_allclose(again, fresh, atol=1e-5)


def test_a_reset_is_a_new_beginning(speech: NDArray[np.int16]) -> None:
    network = StreamingEmbedding(EMBEDDING_FILE)
    mels = mels_of(speech)
    first = network.feed(mels[:MEL_STEP])
    network.feed(mels[MEL_STEP : 2 * MEL_STEP])
    network.reset()
    again = network.feed(mels[:MEL_STEP])
    assert again.shape == (EMBEDDING_SIZE,)
    np.testing.assert_array_equal(again, first)


def test_another_network_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="is not the model that openwakeword"):
        StreamingEmbedding(MEL_FILE)
    with pytest.raises(ModelError, match="is not the model that openwakeword"):
        MelSpectrogram(EMBEDDING_FILE)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_ends_too_soon_is_refused(tmp_path: Path, share: float) -> None:
    whole = EMBEDDING_FILE.read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError) as caught:
        read_onnx_weights(cut)
    assert str(cut) in caught.value.message
    assert caught.value.remedy


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd_to_be_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.mktemp("odd") / "odd.onnx"
    file.write_bytes(data)
    with pytest.raises(ModelError):
        read_onnx_weights(file)
