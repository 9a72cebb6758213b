"""The bundled tiny.en, loaded once a process."""

from __future__ import annotations

from functools import cache

from support.whisper_files import tiny_en_folder
from voice_daemon.asr import WhisperModel, load_model
from voice_daemon.asr.incremental_encoder import SilenceCache


@cache
def tiny_model() -> WhisperModel:
    """The bundled model, ready to run, in float32 whatever the device."""
    return load_model(tiny_en_folder(), dtype="float32")


def silence_as(model: WhisperModel, silence: SilenceCache) -> SilenceCache:
    """The same silence in a model's precision: a CPU takes a minute for its own in float16."""
    encoder = tuple(layer.astype(model.dtype) for layer in silence.encoder)
    return SilenceCache(silence.pool, silence.n_edge, encoder, silence.cross.astype(model.dtype))
