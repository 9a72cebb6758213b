"""The silence that recognisers share, for models in other precisions than the reference."""

from __future__ import annotations

from voice_daemon.asr import WhisperModel
from voice_daemon.asr.incremental_encoder import SilenceCache


def silence_as(model: WhisperModel, silence: SilenceCache) -> SilenceCache:
    """The same silence in a model's precision: a CPU takes a minute for its own in float16."""
    layers = [
        tuple((k.astype(model.dtype), v.astype(model.dtype)) for k, v in half)
        for half in (silence.encoder, silence.cross)
    ]
    return SilenceCache(silence.pool, *layers)
