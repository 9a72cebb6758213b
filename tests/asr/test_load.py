"""Whole models in other precisions and layouts, each reading the bundled clip."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from support.tiny_model import silence_as
from support.whisper_files import tiny_en
from voice_daemon.asr import StreamingDecoder, WhisperModel, WhisperTranscriber, load_model
from voice_daemon.asr.incremental_encoder import SilenceCache
from voice_daemon.asr.load import default_dtype
from voice_daemon.asr.model import AudioEncoder
from voice_daemon.asr.sampler import MlxSampler, NumpySampler, token_sampler
from voice_daemon.errors import ModelError


def quantised_folder(folder: Path, tiny_folder: Path, *, bits: int) -> Path:
    """tiny.en as mlx-community publishes quantised models."""
    arrays: dict[str, mx.array] = {}
    for name, value in tiny_en().arrays.items():
        stem, _, kind = name.rpartition(".")
        matrix = kind == "weight" and value.ndim == 2 and value.shape[-1] % 64 == 0
        if matrix and "positional" not in stem:
            packed, scales, biases = mx.quantize(value, group_size=64, bits=bits)
            arrays |= {name: packed, f"{stem}.scales": scales, f"{stem}.biases": biases}
        else:
            arrays[name] = value
    folder.mkdir()
    mx.save_safetensors(str(folder / "weights.safetensors"), arrays)
    config = {**asdict(tiny_en().dims), "quantization": {"group_size": 64, "bits": bits}}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(tiny_folder / "tokenizer.json", folder)
    return folder


def read(model: WhisperModel, silence: SilenceCache, speech: NDArray[np.float32]) -> str:
    """The command's text, beside the silence of tiny.en."""
    decoder = StreamingDecoder(model, silence=silence_as(model, silence))
    decoder.feed(speech[len(speech) // 3 :])
    return decoder.finish().text.lower()


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_weights_load_and_read_the_clip(
    tmp_path: Path,
    silence: SilenceCache,
    tiny_folder: Path,
    command_speech: NDArray[np.float32],
    bits: int,
) -> None:
    model = load_model(quantised_folder(tmp_path / "q", tiny_folder, bits=bits))
    assert "lights" in read(model, silence, command_speech)


def test_half_precision_reads_the_same_words(
    silence: SilenceCache, tiny_folder: Path, command_speech: NDArray[np.float32]
) -> None:
    model = load_model(tiny_folder, dtype="float16")
    assert model.dtype == mx.float16
    assert "kitchen lights" in read(model, silence, command_speech)


def test_the_precision_follows_the_device() -> None:
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    assert default_dtype() == (mx.float16 if on_gpu else mx.float32)


def test_an_unknown_precision_is_named(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="'int3'"):
        load_model(tiny_folder, dtype="int3")


def test_both_pickers_choose_alike(tiny: WhisperModel) -> None:
    hidden = mx.random.normal((1, 6, tiny.dims.n_text_state), key=mx.random.key(3))
    on_cpu = token_sampler(tiny)
    assert isinstance(on_cpu, NumpySampler)
    on_device = MlxSampler(tiny, on_cpu.never, on_cpu.at_start)
    for at_start in (True, False):
        watched = ((4, tiny.tokenizer.no_speech), (1, 7))
        picked = on_cpu.sample(hidden, [1, 2, 5], at_start=at_start, watched=watched)
        same = on_device.sample(hidden, [1, 2, 5], at_start=at_start, watched=watched)
        assert picked.tokens == same.tokens
        np.testing.assert_allclose(picked.logprobs, same.logprobs, atol=1e-3)
        np.testing.assert_allclose(picked.watched, same.watched, rtol=1e-3)


def test_suppressed_tokens_are_never_chosen(tiny: WhisperModel) -> None:
    hidden = mx.random.normal((1, 40, tiny.dims.n_text_state), key=mx.random.key(1)) * 5
    tokens = token_sampler(tiny).sample(hidden, list(range(40)), at_start=False).tokens
    assert not set(tokens) & set(tiny.suppress_tokens) - {tiny.tokenizer.eot}
    assert max(tokens) <= tiny.tokenizer.eot


def test_a_prompt_stands_before_the_start(tiny: WhisperModel) -> None:
    initial_tokens = tiny.initial_tokens("en", "transcribe", "Kitchen, garage.")
    assert initial_tokens[0] == tiny.tokenizer.sot_prev
    assert initial_tokens[-2:] == tiny.initial_tokens("en", "transcribe")
    long = tiny.initial_tokens("en", "transcribe", "kitchen " * 500)
    assert len(long) <= 64 + 3


def test_positions_have_the_published_shape(tiny: WhisperModel) -> None:
    assert isinstance(tiny.encoder, AudioEncoder)
    mel = mx.zeros((1, 3000, tiny.dims.n_mels))
    assert tiny.encoder(mel).shape == (1, tiny.dims.n_audio_ctx, tiny.dims.n_audio_state)


def test_the_transcriber_warms_up_and_reads_a_command(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    transcriber = WhisperTranscriber(tiny)
    transcriber.warm_up()
    transcriber.start(wake_phrase="Hey Jarvis")
    speech = (command_speech * 32767).astype(np.int16)
    texts = []
    for first in range(0, len(speech), 8000):
        transcriber.feed(speech[first : first + 8000])
        texts.append(transcriber.step().text)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    final = transcriber.finish()
    assert final.text.lower().rstrip(".") == "turn on the kitchen lights"
    assert final.language == "en"
    assert final.revised == (not final.text.startswith(texts[-1]))
