"""Loads a Whisper checkpoint of any supported layout from a folder or a file.

Owns the choice of the reader, and the settings that come with a model: alignment heads and
suppressed tokens. The formats are in `safetensors`, `ctranslate2` and `ggml`, the checks in
`validate`.
"""

from pathlib import Path
from typing import Any

from voice_daemon.asr.checkpoints.alignment_heads import Heads, published_heads, upper_half
from voice_daemon.asr.checkpoints.binary import refuse_lfs_pointer
from voice_daemon.asr.checkpoints.byte_pairs import read_vocabulary
from voice_daemon.asr.checkpoints.ctranslate2 import read_ctranslate2
from voice_daemon.asr.checkpoints.ggml import is_ggml, read_ggml
from voice_daemon.asr.checkpoints.safetensors import WEIGHT_FILES, read_folder, read_json_object
from voice_daemon.asr.checkpoints.validate import (
    CheckpointData,
    HeadsFrom,
    ModelDimensions,
    RawCheckpoint,
    check_arrays,
    check_dimensions,
)
from voice_daemon.errors import ModelError

__all__ = ["CheckpointData", "ModelDimensions", "load_weights"]


def load_weights(path: Path) -> CheckpointData:
    """Load and check the checkpoint at `path`: a model folder, or a whisper.cpp file.

    Raises ModelError when there is no model, when its layout is not supported, and when a
    tensor is missing, misshapen or not finite.
    """
    try:
        raw = _read(path)
    except OSError as error:
        raise ModelError(
            "model.unreadable",
            f"{path} cannot be read: {error}",
            remedy="check its permissions, or download the model again",
        ) from error
    check_dimensions(raw.dims, raw.source)
    arrays = check_arrays(raw)
    heads, heads_from = _alignment_heads(raw)
    return CheckpointData(
        layout=raw.layout,
        source=raw.source,
        dims=raw.dims,
        arrays=arrays,
        vocabulary=raw.vocabulary or read_vocabulary(raw.source.parent),
        alignment_heads=heads,
        alignment_heads_from=heads_from,
        suppress_tokens=_token_list(raw, "suppress_tokens"),
        quantization=raw.quantization,
    )


def _read(path: Path) -> RawCheckpoint:
    """Read the checkpoint by the layout that its files show; the first that fits is read."""
    if path.is_file():
        refuse_lfs_pointer(path)
        return read_ggml(path)
    if not path.is_dir():
        raise ModelError(
            "model.not_found",
            f"there is no model at {path}",
            remedy="name a model folder, or download a model with `daemonctl models pull`",
        )
    for file in sorted(path.iterdir()):
        if file.is_file():
            refuse_lfs_pointer(file)
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return read_folder(path, path / name)
    binaries = sorted(path.glob("*.bin"))
    ggml_files = [binary for binary in binaries if is_ggml(binary)]
    if len(ggml_files) == 1:
        return read_ggml(ggml_files[0])
    if path / "model.bin" in binaries:
        config = path / "config.json"
        return read_ctranslate2(
            path / "model.bin", read_json_object(config) if config.is_file() else {}
        )
    raise _no_layout(path, ggml_files)


def _no_layout(folder: Path, ggml_files: list[Path]) -> ModelError:
    if ggml_files:
        names = ", ".join(file.name for file in ggml_files)
        return ModelError(
            "model.ambiguous",
            f"{folder} holds several ggml models: {names}",
            remedy="name one of the files",
        )
    pickles = [*folder.glob("*.pt"), *folder.glob("pytorch_model*.bin")]
    if pickles:
        return ModelError(
            "model.unsupported",
            f"{pickles[0]} is a pickle, which can run code and is never loaded",
            remedy="use the same model as safetensors",
        )
    return ModelError(
        "model.not_found",
        f"{folder} holds no weights ({', '.join(WEIGHT_FILES)}, model.bin, ggml-*.bin)",
        remedy="name a model folder, or download a model with `daemonctl models pull`",
    )


def _alignment_heads(raw: RawCheckpoint) -> tuple[Heads, HeadsFrom]:
    """Take the model's own heads, else the published ones, else a guess.

    Some converters write the guess into the model's files, as if it were a finding.
    """
    stated, guess = _stated_heads(raw), upper_half(raw.dims)
    if stated and set(stated) != set(guess):
        return stated, "model"
    published = published_heads(raw.dims, f"{raw.source.parent.name}/{raw.source.name}")
    return (published, "published") if published else (guess, "guess")


def _stated_heads(raw: RawCheckpoint) -> Heads:
    """Read the heads that the model names, or () where they are those of another model.

    Distilled models have been published with the heads of the deeper decoder they came from.
    """
    stated: Any = raw.settings.get("alignment_heads") or ()
    try:
        heads = tuple((int(layer), int(head)) for layer, head in stated)
    except (TypeError, ValueError, OverflowError):
        raise _bad_setting(raw, "alignment_heads") from None
    n_layer, n_head = raw.dims.n_text_layer, raw.dims.n_text_head
    fits = all(0 <= layer < n_layer and 0 <= head < n_head for layer, head in heads)
    return heads if fits else ()


def _token_list(raw: RawCheckpoint, key: str) -> tuple[int, ...] | None:
    """List the tokens that the model's own settings name; an empty list says nothing."""
    stated: Any = raw.settings.get(key)
    if not stated:
        return None
    if not isinstance(stated, list) or not all(type(token) is int for token in stated):
        raise _bad_setting(raw, key)
    return tuple(token for token in stated if 0 <= token < raw.dims.n_vocab) or None


def _bad_setting(raw: RawCheckpoint, key: str) -> ModelError:
    return ModelError(
        "model.bad_config",
        f"{raw.source.parent}: the model's {key} are not usable",
        remedy="download the model again with `daemonctl models pull`",
    )
