"""One loaded Whisper: its network, tokenizer and published settings, ready to run.

Owns the assembly from a checkpoint (dtype, quantisation, OpenBLAS, device). Weights are
shared between sessions and never change; sessions keep their own caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from voice_daemon.asr.checkpoints.load import CheckpointData, ModelDimensions, loading_weights
from voice_daemon.asr.checkpoints.validate import HeadsFrom, batched_by_size
from voice_daemon.asr.cooperative import Steps, at_once
from voice_daemon.asr.model import AudioEncoder, TextDecoder
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.errors import ModelError

PROMPT_TOKENS = 64
"""Most tokens of a prompt that are given to the model: longer ones feed loops."""

GPU_CACHE_BYTES = 128 * 2**20
"""Several times what a step computes with, and little beside any model."""

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True, slots=True)
class WhisperModel:
    """A Whisper checkpoint in memory. Load, warm and run it on one thread (MLX's streams)."""

    dims: ModelDimensions
    encoder: AudioEncoder
    decoder: TextDecoder
    tokenizer: WhisperTokenizer
    alignment_heads: tuple[tuple[int, int], ...]
    """(layer, head) pairs whose cross-attention follows the audio."""
    alignment_heads_from: HeadsFrom
    """The model's own files, the published table, or a guess."""
    suppress_tokens: tuple[int, ...]
    dtype: mx.Dtype
    name: str

    def initial_tokens(self, language: str, task: str, prompt: str = "") -> list[int]:
        """The tokens before the first text token: prompt, start, language, task, no times."""
        tokenizer = self.tokenizer
        sequence = [*tokenizer.sot_sequence(language, task), tokenizer.no_timestamps]
        if not prompt.strip():
            return sequence
        earlier = tokenizer.encode(" " + prompt.strip())[-PROMPT_TOKENS:]
        return [tokenizer.sot_prev, *earlier, *sequence]


class _Network(nn.Module):
    """Both halves under the names that checkpoints use."""

    def __init__(self, dims: ModelDimensions, heads: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.encoder = AudioEncoder(dims)
        self.decoder = TextDecoder(dims, heads)


def default_dtype() -> mx.Dtype:
    """float16 on a GPU; float32 on a CPU, where half precision is slower and not faster."""
    return mx.float16 if on_gpu() else mx.float32


def free_unused_memory() -> None:
    """Give back what MLX keeps of arrays that are gone, for arrays of the same sizes."""
    mx.clear_cache()


def on_gpu() -> bool:
    """True where MLX computes on a GPU."""
    return mx.default_device() == mx.Device(mx.gpu)


def limit_unused_memory() -> None:
    """Keep MLX from hoarding on a GPU; to be called before the first model is loaded.

    There its limit is in effect all memory, and streaming gives an array of another size at every
    step. On a CPU it is 32 MiB by itself.
    """
    if on_gpu():
        mx.set_cache_limit(GPU_CACHE_BYTES)


def held_memory_bytes() -> int:
    """Return what MLX holds for arrays in use and for later ones; callable from any thread.

    On a Mac it is the GPU's memory, which the system does not count as the process's.
    """
    return mx.get_active_memory() + mx.get_cache_memory()


def take_peak_memory_bytes() -> int:
    """Return the most that MLX has held since the last call, in bytes."""
    peak = mx.get_peak_memory()
    mx.reset_peak_memory()
    return peak


def load_model(name_or_path: str | Path, dtype: str = "auto") -> WhisperModel:
    """Load a model folder (or whisper.cpp file) of any supported layout.

    Raises ModelError when it is missing, incomplete, damaged or not a Whisper model.
    """
    return at_once(loading_model(name_or_path, dtype))


def loading_model(name_or_path: str | Path, dtype: str = "auto") -> Steps[WhisperModel]:
    """Do as `load_model` does, in steps."""
    if dtype != "auto" and dtype not in DTYPES:
        raise ModelError(
            "model.dtype",
            f"dtype {dtype!r} is not known",
            remedy=f"use auto, {', '.join(DTYPES)}",
        )
    limit_unused_memory()
    data = yield from loading_weights(Path(name_or_path))
    yield
    kind = DTYPES.get(dtype, default_dtype())
    return (yield from _building_model(data, dtype=kind, name=str(name_or_path)))


def _building_model(data: CheckpointData, *, dtype: mx.Dtype, name: str) -> Steps[WhisperModel]:
    """Assemble the network from checked arrays, cast to `dtype` (quantised ones kept)."""
    network = _Network(data.dims, data.alignment_heads)
    if data.quantization is not None:
        nn.quantize(
            network,
            group_size=data.quantization["group_size"],
            bits=data.quantization["bits"],
            class_predicate=lambda path, _: f"{path}.scales" in data.arrays,
        )
    expected = dict(tree_flatten(network.parameters()))
    floating = [
        (key, value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value)
        for key, value in data.arrays.items()
        if key in expected
    ]
    network.load_weights(floating, strict=True)
    parameters = dict(tree_flatten(network.parameters()))
    for names in batched_by_size(parameters):
        yield
        mx.eval([parameters[key] for key in names])
    tokenizer = WhisperTokenizer.from_vocabulary(data.vocabulary, n_vocab=data.dims.n_vocab)
    suppress = data.suppress_tokens
    return WhisperModel(
        dims=data.dims,
        encoder=network.encoder,
        decoder=network.decoder,
        tokenizer=tokenizer,
        alignment_heads=data.alignment_heads,
        alignment_heads_from=data.alignment_heads_from,
        suppress_tokens=tokenizer.default_suppress_tokens if suppress is None else suppress,
        dtype=dtype,
        name=name,
    )
