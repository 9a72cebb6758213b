"""Checks of a Whisper checkpoint: its dimensions, and its tensors' names, shapes and values.

Every loaded checkpoint passes them, whatever its format: `safetensors`, `ctranslate2` and `ggml`
read files, `load` chooses between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Literal

import mlx.core as mx
import numpy as np

from voice_daemon.asr.checkpoints.byte_pairs import Vocabulary
from voice_daemon.errors import ModelError

Layout = Literal["mlx", "transformers", "ctranslate2", "ggml"]
HeadsFrom = Literal["model", "published", "guess"]
Arrays = dict[str, mx.array]

_LIMITS = {"n_mels": 256, "n_vocab": 60_000, "n_audio_ctx": 1500, "n_text_ctx": 4096}
_STATE_LIMIT = 4096
_COUNT_LIMIT = 64  # heads or layers

# Floating-point types -> the integers of the same size, and the bits of the exponent: all set
# in infinities and NaN. Reading them is 25 times faster on a CPU than `mx.isfinite`.
_EXPONENTS: Final = {
    mx.float16: (mx.uint16, 0x7C00),
    mx.bfloat16: (mx.uint16, 0x7F80),
    mx.float32: (mx.uint32, 0x7F80_0000),
}


@dataclass(frozen=True, slots=True)
class ModelDimensions:
    """The sizes that make a Whisper, under OpenAI's names."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


@dataclass(frozen=True, slots=True)
class CheckpointData:
    """A checked checkpoint in the precision that it is stored in.

    `arrays` are named as mlx-community names them: `encoder.blocks.0.attn.query.weight`,
    `encoder.blocks.0.mlp1.weight`, `decoder.token_embedding.weight`. Linear weights are
    (out, in), convolutions (out, kernel, in). The encoder's positions are not among them: they
    are a formula. A quantised weight is (out, in * bits / 32) uint32 with `.scales` and
    `.biases` of (out, in / group_size) beside it.
    """

    layout: Layout
    source: Path
    """The file that holds the weights."""
    dims: ModelDimensions
    arrays: Arrays
    vocabulary: Vocabulary
    alignment_heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) pairs whose cross-attention follows the audio."""
    alignment_heads_from: HeadsFrom = "guess"
    """Origin of the heads; "guess" is all heads of the upper layers."""
    suppress_tokens: tuple[int, ...] | None = None
    """Tokens never to sample; None where the model says nothing."""
    quantization: Mapping[str, int] | None = None
    """`group_size` and `bits` of MLX's affine quantisation."""


@dataclass(frozen=True, slots=True)
class RawCheckpoint:
    """A checkpoint as a reader found it, before anything is checked."""

    layout: Layout
    source: Path
    dims: ModelDimensions
    arrays: Arrays
    settings: Mapping[str, object] = field(default_factory=dict)
    """The model's own `alignment_heads`, `suppress_tokens`, ... as its JSON has them."""
    quantization: Mapping[str, int] | None = None
    vocabulary: Vocabulary | None = None
    """Set where the weights' own file holds it; otherwise it is read from the folder."""


def check_dimensions(dims: ModelDimensions, source: Path) -> ModelDimensions:
    """Return `dims`, or raise ModelError where they cannot be a Whisper's."""
    for name in (entry.name for entry in fields(dims)):
        value = getattr(dims, name)
        limit = _LIMITS.get(name, _STATE_LIMIT if name.endswith("_state") else _COUNT_LIMIT)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
            raise _bad_dimensions(source, f"{name} is {value!r}, not 1 to {limit}")
    if dims.n_audio_state != dims.n_text_state:
        raise _bad_dimensions(
            source, f"n_audio_state {dims.n_audio_state} is not n_text_state {dims.n_text_state}"
        )
    for n_head in (dims.n_audio_head, dims.n_text_head):
        if dims.n_audio_state % (2 * n_head):
            raise _bad_dimensions(source, f"{dims.n_audio_state} states, {n_head} heads")
    return dims


def _bad_dimensions(source: Path, fault: str) -> ModelError:
    return ModelError(
        "model.bad_dimensions",
        f"{source} does not describe a Whisper model: {fault}",
        remedy="choose a Whisper model, or download this one again",
    )


def expected_shapes(dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """Name every tensor that a checkpoint of these dimensions holds -> its shape."""
    n_state = dims.n_audio_state
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (n_state, 3, dims.n_mels),
        "encoder.conv1.bias": (n_state,),
        "encoder.conv2.weight": (n_state, 3, n_state),
        "encoder.conv2.bias": (n_state,),
        "decoder.token_embedding.weight": (dims.n_vocab, n_state),
        "decoder.positional_embedding": (dims.n_text_ctx, n_state),
    }
    shapes |= _norm("encoder.ln_post", n_state) | _norm("decoder.ln", n_state)
    for half, n_layer in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
        attentions = ("attn",) if half == "encoder" else ("attn", "cross_attn")
        for layer in range(n_layer):
            block = f"{half}.blocks.{layer}"
            for attention in attentions:
                shapes |= _attention(f"{block}.{attention}", n_state)
            shapes |= _norm(f"{block}.mlp_ln", n_state)
            shapes |= {
                f"{block}.mlp1.weight": (4 * n_state, n_state),
                f"{block}.mlp1.bias": (4 * n_state,),
                f"{block}.mlp2.weight": (n_state, 4 * n_state),
                f"{block}.mlp2.bias": (n_state,),
            }
    return shapes


def _norm(name: str, n_state: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (n_state,), f"{name}.bias": (n_state,)}


def _attention(name: str, n_state: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("query", "key", "value", "out"):
        shapes[f"{name}.{part}.weight"] = (n_state, n_state)
        if part != "key":
            shapes[f"{name}.{part}.bias"] = (n_state,)
    return shapes | _norm(f"{name}_ln", n_state)


def check_arrays(raw: RawCheckpoint) -> Arrays:
    """Return the tensors of a complete checkpoint; ModelError names the first that is at fault.

    Missing, misshapen and non-finite tensors are faults, and so are encoder or decoder tensors
    that the dimensions do not call for: the configuration is then another model's.
    """
    expected = expected_shapes(raw.dims)
    checked: Arrays = {}
    for name, shape in expected.items():
        checked |= _take(raw, name, shape)
    for name in raw.arrays:
        if name not in checked and name.startswith(("encoder.", "decoder.")):
            raise _bad_tensor(raw, name, "is not part of a model of the configured size")
    _check_finite(raw, checked)
    return checked


def _take(raw: RawCheckpoint, name: str, shape: tuple[int, ...]) -> Arrays:
    """Return the tensor `name`, with its scales and biases where it is quantised."""
    array = raw.arrays.get(name)
    if array is None:
        raise _bad_tensor(raw, name, "is missing")
    stem = name.removesuffix(".weight")
    if raw.quantization is None or f"{stem}.scales" not in raw.arrays:
        _check_shape(raw, name, shape)
        if array.dtype not in _EXPONENTS:
            raise _bad_tensor(raw, name, f"holds {array.dtype}, not floating point")
        return {name: array}
    n_out, n_in = shape
    group_size, bits = raw.quantization["group_size"], raw.quantization["bits"]
    _check_shape(raw, name, (n_out, n_in * bits // 32))
    taken = {name: array}
    for part in ("scales", "biases"):
        key = f"{stem}.{part}"
        if key not in raw.arrays:
            raise _bad_tensor(raw, key, "is missing")
        _check_shape(raw, key, (n_out, n_in // group_size))
        taken[key] = raw.arrays[key]
    return taken


def _check_shape(raw: RawCheckpoint, name: str, shape: tuple[int, ...]) -> None:
    found = tuple(raw.arrays[name].shape)
    if found != shape:
        raise _bad_tensor(raw, name, f"has shape {found}, the model needs {shape}")


def _check_finite(raw: RawCheckpoint, arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype in _EXPONENTS:
            kind, exponent = _EXPONENTS[array.dtype]
            bits = np.asarray(array.view(kind))
            if np.any(bits & exponent == exponent):
                raise _bad_tensor(raw, name, "holds values that are not finite")


def _bad_tensor(raw: RawCheckpoint, name: str, fault: str) -> ModelError:
    return ModelError(
        "model.bad_tensor",
        f"{raw.source}: tensor {name} {fault}",
        remedy="download the model again with `daemonctl models pull`",
    )
