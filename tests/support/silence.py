"""The silence that a model hears, encoded once for all processes of a run of the tests.

It costs as much as a clip, and every daemon and nearly every decoder that a test starts wants it.
"""

from __future__ import annotations

import io
import os
import zlib
from collections import deque
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from voice_daemon._lib.files import write_atomically
from voice_daemon.asr.incremental_encoder import (
    EDGE_FRAMES,
    POOL_FRAMES,
    SilenceCache,
    silent_window,
)
from voice_daemon.asr.load import WhisperModel

FOLDER_VARIABLE = "TESTS_SILENCE_FOLDER"
"""Where it lies, for all workers and what they start."""

_lately: deque[tuple[WhisperModel, SilenceCache]] = deque(maxlen=2)


def shared_silence(model: WhisperModel) -> SilenceCache:
    """What `silent_window` gives for the same weights, from this process or another's file."""
    for known, silence in _lately:
        if known is model:
            return silence
    _lately.append((model, _from_file(model)))
    return _lately[-1][1]


def _from_file(model: WhisperModel) -> SilenceCache:
    if model.dtype == mx.bfloat16:  # which NumPy has not
        return silent_window(model)
    file = Path(os.environ[FOLDER_VARIABLE]) / f"{_sum_of_weights(model):08x}-{model.dtype}.npz"
    if file.exists():
        with np.load(file) as arrays:
            *encoder, cross = (mx.array(arrays[name]) for name in arrays.files)
        return SilenceCache(POOL_FRAMES, EDGE_FRAMES, tuple(encoder), cross)
    silence = silent_window(model)
    content = io.BytesIO()
    np.savez(content, *map(np.asarray, (*silence.encoder, silence.cross)))
    write_atomically(file, content.getvalue())
    return silence


def _sum_of_weights(model: WhisperModel) -> int:
    halves = (model.encoder.parameters(), model.decoder.parameters())  # type: ignore[no-untyped-call]
    weights = tree_flatten(halves, destination={})
    assert isinstance(weights, dict)
    total = 0
    for name in sorted(weights):
        total = zlib.crc32(np.asarray(weights[name]).tobytes(), total)
    return total
