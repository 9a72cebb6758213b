"""Reads model folders in the layouts of mlx-community and of Hugging Face transformers.

Owns the names that both use for tensors and for the model's dimensions; `validate` checks shapes
and completeness.

Layouts are told apart by the names inside, not by the file's name: converters have mixed them.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.checkpoints.binary import BinaryReader, damaged, read_text
from voice_daemon.asr.checkpoints.validate import Arrays, ModelDimensions, RawCheckpoint
from voice_daemon.errors import ModelError

_SAFETENSORS_BYTES: Final = {
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "U32": 4,
    "U8": 1,
}
_MAX_HEADER_BYTES: Final = 16 * 2**20
_MAX_EXPANSION: Final = 8
"""Weights hardly compress: an archive that grows more than this is no checkpoint."""
_MAX_DIMENSION: Final = 2**31 - 1


def load_arrays(path: Path) -> Arrays:
    """Read {name: array} from a .safetensors or .npz file; ModelError when it is damaged."""
    if path.suffix == ".npz":
        return _load_npz(path)
    _check_safetensors(path)
    try:
        loaded = mx.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise damaged(path, str(error)) from error
    return dict(loaded) if isinstance(loaded, dict) else {}


def _check_safetensors(path: Path) -> None:
    """Check that the header is JSON, and that its tensors fill the rest of the file and no more."""
    n_file = path.stat().st_size
    with BinaryReader(path) as reader:
        n_header = reader.unsigned(8)
        if n_header > min(_MAX_HEADER_BYTES, n_file):
            raise damaged(path, f"its header claims {n_header} bytes")
        raw = reader.take(n_header)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        ends = [_tensor_end(name, entry) for name, entry in header.items()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"its header is not readable: {error}") from error
    n_data = n_file - 8 - n_header
    if max(ends, default=0) != n_data:
        raise damaged(path, f"its tensors need {max(ends, default=0)} bytes, {n_data} are there")


def _tensor_end(name: str, entry: Mapping[str, Any]) -> int:
    """Find where the tensor's data ends; ValueError unless its shape and offsets agree."""
    shape: list[int] = entry["shape"]
    begin: int = entry["data_offsets"][0]
    end: int = entry["data_offsets"][1]
    # Not isinstance: JSON's true is an int to Python.
    if not all(type(size) is int and 0 < size <= _MAX_DIMENSION for size in shape):
        raise ValueError(f"{name} has shape {shape}")
    item_bytes = _SAFETENSORS_BYTES.get(entry["dtype"])
    if item_bytes is None:
        raise ValueError(f"{name} has the type {entry['dtype']}")
    n_bytes = item_bytes * math.prod(shape)
    if type(begin) is not int or begin < 0 or end != begin + n_bytes:
        raise ValueError(f"{name} is {n_bytes} bytes at [{begin}, {end})")
    return begin + n_bytes


def _load_npz(path: Path) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, most_bytes=_MAX_EXPANSION * path.stat().st_size)
            return {
                member.filename.removesuffix(".npy"): _npy(archive, member) for member in members
            }
    except Exception as error:  # of zip, its compressions, numpy's headers and Python's parser
        raise damaged(path, str(error)) from error


def _members(archive: zipfile.ZipFile, *, most_bytes: int) -> list[zipfile.ZipInfo]:
    """List what is in an archive; ValueError for one that hides more than it may."""
    members = archive.infolist()
    n_expanded = sum(member.file_size for member in members)
    if n_expanded > most_bytes:
        raise ValueError(f"it would expand to {n_expanded} bytes")
    return members


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> mx.array:
    """Read one .npy member; its header must describe exactly the bytes that follow."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version[0] == 1:
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds pickled objects, which are never loaded")
        data = file.read()
    if dtype.itemsize * math.prod(shape) != len(data):
        raise ValueError(f"{member.filename} is {shape} {dtype} in {len(data)} bytes")
    array: NDArray[np.generic] = np.frombuffer(data, dtype)
    return mx.array(array.reshape(shape, order="F" if is_fortran else "C"))


WEIGHT_FILES: Final = (
    "weights.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "weights.npz",
)
"""Weight files, in the order in which they are tried."""

_TRANSFORMERS_PARTS: Final = {
    "layers": "blocks",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp1",
    "fc2": "mlp2",
    "embed_tokens": "token_embedding",
}
_RENAMED: Final = (
    ("encoder.layer_norm.", "encoder.ln_post."),
    ("decoder.layer_norm.", "decoder.ln."),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    (".mlp.0.", ".mlp1."),
    (".mlp.2.", ".mlp2."),
)
_COMPUTED: Final = {"encoder.positional_embedding", "encoder.embed_positions.weight"}

_TRANSFORMERS_DIMENSIONS: Final = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
_QUANTISED_BITS: Final = {2, 3, 4, 5, 6, 8}
_QUANTISED_GROUPS: Final = {32, 64, 128}


def read_json_object(path: Path) -> dict[str, Any]:
    """Read `path` as a JSON object; ModelError when it is missing or is not one."""
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_config(path, str(error)) from error
    if not isinstance(document, dict):
        raise _bad_config(path, "it holds no JSON object")
    return document


def our_name(theirs: str) -> str | None:
    """Translate a name of transformers or of OpenAI's code into ours; None for what is computed."""
    name = theirs.removeprefix("model.")
    if name in _COMPUTED:
        return None
    name = ".".join(_TRANSFORMERS_PARTS.get(part, part) for part in name.split("."))
    for old, new in _RENAMED:
        name = name.replace(old, new)
    return name


def our_array(name: str, array: mx.array) -> mx.array:
    """Return `array`, with a convolution's (out, in, kernel) turned to MLX's (out, kernel, in)."""
    if name in {"encoder.conv1.weight", "encoder.conv2.weight"}:
        # Both kernels are 3 long, and no Whisper has 3 channels: the 3 tells the order.
        kernel_first = array.ndim != 3 or array.shape[1] == 3
        return array if kernel_first else mx.swapaxes(array, 1, 2)
    return array


def read_folder(folder: Path, weights: Path) -> RawCheckpoint:
    """Read `weights`, one of WEIGHT_FILES in `folder`, with the folder's configuration.

    Raises ModelError for files that are damaged or do not describe a Whisper model.
    """
    config = read_json_object(folder / "config.json")
    stored = _load(weights)
    # The decoder projects by the token embedding alone.
    if config.get("tie_word_embeddings") is False and "proj_out.weight" in stored:
        raise _bad_config(weights, "its output layer is not the token embedding")
    layout = "mlx"
    arrays: Arrays = {}
    for theirs, array in stored.items():
        if ".layers." in theirs:
            layout = "transformers"
        name = our_name(theirs)
        if name is not None:
            arrays[name] = our_array(name, array)
    return RawCheckpoint(
        layout="transformers" if layout == "transformers" else "mlx",
        source=weights,
        dims=_dimensions(folder / "config.json", config),
        arrays=arrays,
        settings=_settings(folder, config, arrays),
        quantization=_quantization(folder / "config.json", config),
    )


def _load(weights: Path) -> Arrays:
    """Load the arrays of one file, or of all the files that an index names."""
    if weights.suffix != ".json":
        return load_arrays(weights)
    files = read_json_object(weights).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise _bad_config(weights, "it maps no weights")
    arrays: Arrays = {}
    for name in sorted({str(file) for file in files.values()}):
        shard = weights.parent / name
        # A name with a folder in it could lead out of the model.
        if shard.parent != weights.parent or not shard.is_file():
            raise _bad_config(weights, f"it names {name}, which is not in the folder")
        arrays |= load_arrays(shard)
    return arrays


def _dimensions(path: Path, config: Mapping[str, Any]) -> ModelDimensions:
    names = {entry.name: entry.name for entry in fields(ModelDimensions)}
    keys = names if "n_audio_state" in config else _TRANSFORMERS_DIMENSIONS
    missing = [key for key in keys.values() if key not in config]
    if missing:
        raise _bad_config(path, f"it has no {', '.join(missing)}")
    return ModelDimensions(**{name: config[key] for name, key in keys.items()})


def _settings(folder: Path, config: Mapping[str, Any], arrays: Arrays) -> dict[str, object]:
    """Gather what the model says of itself: generation_config.json first, then config.json.

    mlx-community keeps the alignment heads among the weights.
    """
    path = folder / "generation_config.json"
    generation = read_json_object(path) if path.is_file() else {}
    keys = ("alignment_heads", "suppress_tokens")
    settings: dict[str, object] = {key: generation.get(key, config.get(key)) for key in keys}
    stored = arrays.get("alignment_heads")
    if settings["alignment_heads"] is None and stored is not None and stored.size:
        settings["alignment_heads"] = stored.tolist()
    return settings


def _quantization(path: Path, config: Mapping[str, Any]) -> dict[str, int] | None:
    stated = config.get("quantization")
    if stated is None:
        return None
    if not isinstance(stated, dict) or stated.get("mode", "affine") != "affine":
        raise _bad_config(path, f"quantization {stated!r} is not MLX's affine one")
    group_size, bits = stated.get("group_size"), stated.get("bits")
    is_whole = type(group_size) is type(bits) is int
    if not is_whole or group_size not in _QUANTISED_GROUPS or bits not in _QUANTISED_BITS:
        raise _bad_config(path, f"quantization to {bits!r} bits in groups of {group_size!r}")
    return {"group_size": group_size, "bits": bits}


def _bad_config(path: Path, fault: str) -> ModelError:
    return ModelError(
        "model.bad_config",
        f"{path} does not describe a Whisper model: {fault}",
        remedy="download the model again with `daemonctl models pull`",
    )
