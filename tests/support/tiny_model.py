"""The bundled tiny.en, loaded once a process, and the silence that its decoders share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from support.whisper_files import tiny_en_folder
from voice_daemon.asr import WhisperModel, load_model, streaming
from voice_daemon.asr.incremental_encoder import SilenceCache, silent_window


@cache
def tiny_model() -> WhisperModel:
    """The bundled model, ready to run, in float32 whatever the device."""
    return load_model(tiny_en_folder(), dtype="float32")


@cache
def tiny_silence() -> SilenceCache:
    """Thirty seconds of silence as the bundled model hears it: it costs as much as a clip."""
    return silent_window(tiny_model())


@contextmanager
def shared_silence() -> Iterator[None]:
    """Give decoders of the bundled model the one silence, as the daemon's sessions share theirs."""

    def shared(model: WhisperModel) -> SilenceCache:
        return tiny_silence() if model is tiny_model() else silent_window(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "silent_window", shared)
        yield


def silence_as(model: WhisperModel, silence: SilenceCache) -> SilenceCache:
    """The same silence in a model's precision: a CPU takes a minute for its own in float16."""
    encoder = tuple(layer.astype(model.dtype) for layer in silence.encoder)
    return SilenceCache(silence.pool, encoder, silence.cross.astype(model.dtype))
