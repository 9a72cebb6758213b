"""One loaded Whisper: its network, tokenizer and published settings, ready to run.

Owns the assembly from a checkpoint (dtype, quantisation, OpenBLAS, device). Weights are
shared between sessions and never change; sessions keep their own caches.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from voice_daemon.asr.checkpoints.load import CheckpointData, ModelDimensions, load_weights
from voice_daemon.asr.checkpoints.validate import HeadsFrom
from voice_daemon.asr.model import AudioEncoder, TextDecoder, join_products, suit_gpu
from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.errors import ModelError
from voice_daemon.models.store import locate
from voice_daemon.paths import default_paths

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
    """Load a model by its name, from its folder or from a whisper.cpp file, in any known layout.

    A name is a short one ("tiny.en") or a repository's ("mlx-community/whisper-small.en-mlx") of
    a model on this disk: nothing is downloaded. Raises ModelError when it is missing, incomplete,
    damaged or not a Whisper model.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ModelError(
            "model.dtype",
            f"dtype {dtype!r} is not known",
            remedy=f"use auto, {', '.join(DTYPES)}",
        )
    limit_unused_memory()
    data = load_weights(_path_of(name_or_path))
    kind = DTYPES.get(dtype, default_dtype())
    return _build_model(data, dtype=kind, name=str(name_or_path))


def _path_of(name_or_path: str | Path) -> Path:
    """Find a named model; what is neither a name nor there is reported by the reader."""
    if isinstance(name_or_path, Path):
        return name_or_path
    found = locate(name_or_path, models_dir=default_paths(os.environ).models_dir)
    return found or Path(name_or_path)


def _build_model(data: CheckpointData, *, dtype: mx.Dtype, name: str) -> WhisperModel:
    """Assemble the network from checked arrays, cast to `dtype` (quantised ones kept)."""
    network = _Network(data.dims, data.alignment_heads)
    if data.quantization is not None:
        nn.quantize(
            network,
            group_size=data.quantization["group_size"],
            bits=data.quantization["bits"],
            # Converters leave some layers as they were.
            class_predicate=lambda path, _: f"{path}.scales" in data.arrays,
        )
    expected = dict(tree_flatten(network.parameters()))
    floating = [
        (key, value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value)
        for key, value in data.arrays.items()
        if key in expected
    ]
    network.load_weights(floating, strict=True)
    # MLX is lazy: what is not computed here would be in the first command's time.
    mx.eval(network.parameters())
    # Half precision on a CPU is for trying a GPU's path.
    if on_gpu() or dtype != mx.float32:
        suit_gpu(network.encoder, network.decoder)
    else:
        join_products(network.encoder, network.decoder)
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
