"""Reads whisper.cpp's ggml files in float16 and float32.

Owns the file format. A file with whisper.cpp's quantised types is refused by name. The checks of
shapes and completeness are in `validate`.

The file is a magic number, eleven sizes, the mel filters, the vocabulary as raw bytes, and
then tensors under OpenAI's names until it ends, their dimensions innermost first.
"""

from pathlib import Path
from typing import Final

import mlx.core as mx
import numpy as np

from voice_daemon._lib.files import open_to_read
from voice_daemon.asr.checkpoints.binary import BinaryReader
from voice_daemon.asr.checkpoints.byte_pairs import Vocabulary
from voice_daemon.asr.checkpoints.safetensors import our_array, our_name
from voice_daemon.asr.checkpoints.validate import ModelDimensions, RawCheckpoint, check_dimensions
from voice_daemon.asr.features import N_FFT
from voice_daemon.errors import ModelError

MAGIC: Final = 0x67676D6C
_TYPES: Final = {0: np.float32, 1: np.float16}
_MAX_NAME_BYTES: Final = 128
_MAX_TOKEN_BYTES: Final = 1024
_MAX_RANK: Final = 3


def is_ggml(path: Path) -> bool:
    """Tell whether the file begins with ggml's magic number."""
    with open_to_read(path) as file:
        return file.read(4) == MAGIC.to_bytes(4, "little")


def read_ggml(path: Path) -> RawCheckpoint:
    """Read `path` into tensors under our names, and its vocabulary.

    Raises ModelError for a file that is damaged, quantised or not ggml.
    """
    with BinaryReader(path) as reader:
        if reader.unsigned(4) != MAGIC:
            raise ModelError(
                "model.unsupported",
                f"{path} is not a whisper.cpp (ggml) file",
                remedy="name a model folder, or a ggml-*.bin file of whisper.cpp",
            )
        dims = _dimensions(reader)
        check_dimensions(dims, path)
        _skip_mel_filters(reader, dims.n_mels)
        vocabulary = _vocabulary(reader)
        arrays = {}
        while not reader.at_end:
            theirs, array = _tensor(reader)
            name = our_name(theirs)
            if name is not None:
                arrays[name] = our_array(name, array)
    return RawCheckpoint(
        layout="ggml", source=path, dims=dims, arrays=arrays, vocabulary=vocabulary
    )


def _dimensions(reader: BinaryReader) -> ModelDimensions:
    *audio_and_text, n_mels, _file_type = reader.signed(11)
    n_vocab, audio_ctx, audio_state, audio_head, audio_layer = audio_and_text[:5]
    text_ctx, text_state, text_head, text_layer = audio_and_text[5:]
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=audio_ctx,
        n_audio_state=audio_state,
        n_audio_head=audio_head,
        n_audio_layer=audio_layer,
        n_vocab=n_vocab,
        n_text_ctx=text_ctx,
        n_text_state=text_state,
        n_text_head=text_head,
        n_text_layer=text_layer,
    )


def _skip_mel_filters(reader: BinaryReader, n_mels: int) -> None:
    """Skip the filters: they are a formula (`features.mel_filters`), but must be of this size."""
    shape = reader.signed(2)
    if shape != (n_mels, N_FFT // 2 + 1):
        raise reader.damaged(f"its mel filters are {shape} for {n_mels} bands")
    reader.skip_array(np.float32, shape)


def _vocabulary(reader: BinaryReader) -> Vocabulary:
    tokens: list[bytes] = []
    for _ in range(reader.unsigned(4)):
        n_bytes = reader.unsigned(4)
        if n_bytes > _MAX_TOKEN_BYTES:
            raise reader.damaged(f"token {len(tokens)} claims {n_bytes} bytes")
        tokens.append(reader.take(n_bytes))
    return Vocabulary(tuple(tokens), source=str(reader.path))


def _tensor(reader: BinaryReader) -> tuple[str, mx.array]:
    rank, n_name, kind = reader.signed(3)
    if not 1 <= rank <= _MAX_RANK or not 1 <= n_name <= _MAX_NAME_BYTES:
        raise reader.damaged(f"a tensor claims {rank} dimensions, {n_name} bytes of name")
    shape = reader.signed(rank)[::-1]
    raw_name = reader.take(n_name)
    name = raw_name.decode("ascii", errors="replace")
    if kind not in _TYPES:
        raise ModelError(
            "model.unsupported",
            f"{reader.path}: tensor {name} has ggml type {kind}; quantised files are not read",
            remedy="use the float16 file of the same model (no q4, q5 or q8 in its name)",
        )
    if min(shape) < 1:
        raise reader.damaged(f"tensor {name} has shape {shape}")
    array = reader.read_array(reader.skip_array(_TYPES[kind], shape))
    if name in {"encoder.conv1.bias", "encoder.conv2.bias"}:
        array = array.reshape(-1)  # whisper.cpp keeps these as columns
    return name, mx.array(array)
