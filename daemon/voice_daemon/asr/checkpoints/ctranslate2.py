"""Reads CTranslate2's `model.bin`, the layout of faster-whisper, without CTranslate2.

Owns the file format (binary version 6) and its tensor names; `validate` checks shapes and
completeness.

The file is a list of named variables followed by aliases. Queries, keys and values are stacked
in one linear layer, and so are the keys and values of the cross-attention. Quantised weights
are integers to be divided by `weight_scale`: one scale a row for int8, a single one for int16.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.checkpoints.binary import BinaryReader, StoredArray
from voice_daemon.asr.checkpoints.validate import (
    Arrays,
    ModelDimensions,
    RawCheckpoint,
    check_dimensions,
)
from voice_daemon.errors import ModelError

BINARY_VERSION: Final = 6
SPEC_NAME: Final = "WhisperSpec"

_Variables = dict[str, StoredArray]

# Index is the type id. numpy has no bfloat16: it is read as its 16 bits.
_TYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
_BFLOAT16: Final = np.uint16
_MAX_RANK: Final = 3
_PARTS: Final = ("query", "key", "value")


@dataclass(frozen=True, slots=True)
class _Layers:
    """Looks variables up by name; a missing one is a ModelError with that name."""

    reader: BinaryReader
    variables: _Variables

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        found = self.variables.get(name)
        if found is None or len(found.shape) != rank:
            raise self.bad_tensor(name, f"is missing or has not {rank} dimensions")
        return found.shape

    def get(self, name: str, rank: int) -> NDArray[np.generic]:
        self.shape(name, rank)
        return self.reader.read_array(self.variables[name])

    def scalar(self, name: str, default: int) -> int:
        found = self.variables.get(name)
        if found is None or found.shape or found.dtype.kind != "i":
            return default
        return int(self.reader.read_array(found).item())

    def bad_tensor(self, name: str, fault: str) -> ModelError:
        return ModelError(
            "model.bad_tensor",
            f"{self.reader.path}: tensor {name} {fault}",
            remedy="download the model again with `daemonctl models pull`",
        )

    def n_layer(self, half: str) -> int:
        found = {re.match(rf"{half}/layer_\d+/", name) for name in self.variables}
        return len({match.group() for match in found if match})


def read_ctranslate2(path: Path, settings: dict[str, object]) -> RawCheckpoint:
    """Read `path`, a model.bin, into tensors under our names.

    `settings` is the folder's config.json. Raises ModelError for a file that is damaged, of
    another version or of another kind of model.
    """
    with BinaryReader(path) as reader:
        layers = _Layers(reader, _read_index(reader))
        dims = check_dimensions(_dimensions(layers), path)
        arrays = _embeddings(layers) | _convolutions(layers)
        for half, n_layer in (("encoder", dims.n_audio_layer), ("decoder", dims.n_text_layer)):
            final = "ln_post" if half == "encoder" else "ln"
            arrays |= _norm(layers, f"{half}/layer_norm", f"{half}.{final}")
            for layer in range(n_layer):
                arrays |= _block(layers, f"{half}/layer_{layer}", f"{half}.blocks.{layer}")
    return RawCheckpoint(
        layout="ctranslate2",
        source=path,
        dims=dims,
        arrays=arrays,
        settings={
            "alignment_heads": settings.get("alignment_heads"),
            "suppress_tokens": settings.get("suppress_ids"),
        },
    )


def _read_index(reader: BinaryReader) -> _Variables:
    """Find every variable, without reading its data."""
    version = reader.unsigned(4)
    name = _string(reader) if version == BINARY_VERSION else ""
    if version != BINARY_VERSION or name != SPEC_NAME:
        raise ModelError(
            "model.unsupported",
            f"{reader.path} is CTranslate2 version {version} {name!r}, not version "
            f"{BINARY_VERSION} {SPEC_NAME!r}",
            remedy="convert the Whisper model again with a current CTranslate2",
        )
    reader.unsigned(4)  # the specification's revision: it changes no tensor
    variables = dict(_variable(reader) for _ in range(reader.unsigned(4)))
    for _ in range(reader.unsigned(4)):
        alias, target = _string(reader), _string(reader)
        if target not in variables:
            raise reader.damaged(f"{alias} stands for {target}, which is not there")
        variables[alias] = variables[target]
    if not reader.at_end:
        raise reader.damaged("bytes follow its last alias")
    return variables


def _variable(reader: BinaryReader) -> tuple[str, StoredArray]:
    name = _string(reader)
    rank = reader.unsigned(1)
    if rank > _MAX_RANK:
        raise reader.damaged(f"{name} has {rank} dimensions")
    shape = tuple(reader.unsigned(4) for _ in range(rank))
    kind = reader.unsigned(1)
    n_bytes = reader.unsigned(4)
    if kind >= len(_TYPES):
        raise reader.damaged(f"{name} has the unknown type {kind}")
    stored = reader.skip_array(_TYPES[kind], shape)
    if stored.n_bytes != n_bytes:
        raise reader.damaged(f"{name} is {shape} and claims {n_bytes} bytes")
    return name, stored


def _string(reader: BinaryReader) -> str:
    raw = reader.take(reader.unsigned(2))
    try:
        return raw.removesuffix(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise reader.damaged(f"a name reads {raw[:40]!r}") from error


def _dimensions(layers: _Layers) -> ModelDimensions:
    n_state, n_mels, _ = layers.shape("encoder/conv1/weight", 3)
    n_audio_ctx, _ = layers.shape("encoder/position_encodings/encodings", 2)
    n_text_ctx, n_text_state = layers.shape("decoder/position_encodings/encodings", 2)
    n_vocab, _ = layers.shape("decoder/embeddings/weight", 2)
    # Where the file does not say: every published Whisper has heads of 64.
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=n_audio_ctx,
        n_audio_state=n_state,
        n_audio_head=layers.scalar("encoder/num_heads", n_state // 64),
        n_audio_layer=layers.n_layer("encoder"),
        n_vocab=n_vocab,
        n_text_ctx=n_text_ctx,
        n_text_state=n_text_state,
        n_text_head=layers.scalar("decoder/num_heads", n_state // 64),
        n_text_layer=layers.n_layer("decoder"),
    )


def _embeddings(layers: _Layers) -> Arrays:
    positions = layers.get("decoder/position_encodings/encodings", 2)
    return {
        "decoder.token_embedding.weight": _to_mlx(_weight(layers, "decoder/embeddings", 2)),
        "decoder.positional_embedding": _to_mlx(positions),
    }


def _convolutions(layers: _Layers) -> Arrays:
    arrays: Arrays = {}
    for name in ("conv1", "conv2"):
        weight = _to_mlx(_weight(layers, f"encoder/{name}", 3))  # (out, in, kernel)
        arrays[f"encoder.{name}.weight"] = mx.swapaxes(weight, 1, 2)
        arrays[f"encoder.{name}.bias"] = _to_mlx(layers.get(f"encoder/{name}/bias", 1))
    return arrays


def _block(layers: _Layers, theirs: str, ours: str) -> Arrays:
    attention = f"{theirs}/self_attention"
    arrays = _norm(layers, f"{attention}/layer_norm", f"{ours}.attn_ln")
    arrays |= _linear(layers, f"{attention}/linear_0", [f"{ours}.attn.{part}" for part in _PARTS])
    arrays |= _linear(layers, f"{attention}/linear_1", [f"{ours}.attn.out"])
    if theirs.startswith("decoder"):
        attention, cross = f"{theirs}/attention", f"{ours}.cross_attn"
        arrays |= _norm(layers, f"{attention}/layer_norm", f"{cross}_ln")
        arrays |= _linear(layers, f"{attention}/linear_0", [f"{cross}.query"])
        arrays |= _linear(layers, f"{attention}/linear_1", [f"{cross}.key", f"{cross}.value"])
        arrays |= _linear(layers, f"{attention}/linear_2", [f"{cross}.out"])
    arrays |= _norm(layers, f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
    arrays |= _linear(layers, f"{theirs}/ffn/linear_0", [f"{ours}.mlp1"])
    return arrays | _linear(layers, f"{theirs}/ffn/linear_1", [f"{ours}.mlp2"])


def _norm(layers: _Layers, theirs: str, ours: str) -> Arrays:
    return {
        f"{ours}.weight": _to_mlx(layers.get(f"{theirs}/gamma", 1)),
        f"{ours}.bias": _to_mlx(layers.get(f"{theirs}/beta", 1)),
    }


def _linear(layers: _Layers, theirs: str, ours: list[str]) -> Arrays:
    """Turn one stored layer into the layers of ours that are stacked in it, in order."""
    weight, bias = _weight(layers, theirs, 2), layers.get(f"{theirs}/bias", 1)
    arrays: Arrays = {}
    for at, name in enumerate(ours):
        rows = slice(len(weight) * at // len(ours), len(weight) * (at + 1) // len(ours))
        arrays[f"{name}.weight"] = _to_mlx(weight[rows])
        if not name.endswith(".key"):
            arrays[f"{name}.bias"] = _to_mlx(bias[rows])
        elif bias[rows].any():
            raise layers.bad_tensor(f"{theirs}/bias", "gives keys a bias, which Whisper has not")
    return arrays


def _weight(layers: _Layers, name: str, rank: int) -> NDArray[np.generic]:
    """Return the layer's weight; integers are divided by their scale into float16."""
    weight = layers.get(f"{name}/weight", rank)
    if weight.dtype.kind != "i":
        return weight
    scale = layers.get(f"{name}/weight_scale", 1 if weight.dtype == np.int8 else 0)
    if scale.dtype != np.float32 or scale.shape not in {(), weight.shape[:1]}:
        raise layers.bad_tensor(f"{name}/weight_scale", f"is {scale.shape} {scale.dtype}")
    by_row = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    with np.errstate(all="ignore"):  # a scale of zero shows as values that are not finite
        floating: NDArray[np.float32] = np.divide(weight, by_row, dtype=np.float32)
        return floating.astype(np.float16)


def _to_mlx(array: NDArray[np.generic]) -> mx.array:
    if array.dtype == _BFLOAT16:
        return mx.array(array).view(mx.bfloat16)
    return mx.array(array)
