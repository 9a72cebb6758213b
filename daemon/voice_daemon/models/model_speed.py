"""Measures a recogniser on this machine: the bundled clip, streamed in the daemon's own steps.

Knows nothing of where the result is kept or shown.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from voice_daemon.asr import WhisperTranscriber
from voice_daemon.asr.load import free_unused_memory, load_model, take_peak_memory_bytes
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models.benchmark import Measurement
from voice_daemon.models.store import size_of
from voice_daemon.runtime.recogniser_settings import streaming_config

if TYPE_CHECKING:
    from pathlib import Path

    from voice_daemon.config import AsrSettings

ROUNDS: Final = 3


def measure(folder: Path, settings: AsrSettings) -> Measurement:
    """Load the model in `folder`, warm it and stream the clip; raises `ModelError`."""
    free_unused_memory()
    take_peak_memory_bytes()
    begun_s = time.perf_counter()
    transcriber = WhisperTranscriber(load_model(folder, settings.dtype), streaming_config(settings))
    transcriber.warm_up()
    load_s = time.perf_counter() - begun_s
    clip = to_int16(load_audio(DEMO_CLIP))
    step = round(settings.step_s * SAMPLE_RATE)
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        transcriber.start(wake_phrase=None)
        for first in range(0, len(clip), step):
            transcriber.feed(clip[first : first + step])
            transcriber.step()
        transcriber.finish()
        best_s = min(best_s, time.perf_counter() - begun_s)
    return Measurement(
        rtf=round(best_s / (len(clip) / SAMPLE_RATE), 4),
        load_s=round(load_s, 2),
        memory_mb=round(take_peak_memory_bytes() / 1e6, 1),
        size_bytes=size_of(folder) if folder.is_dir() else folder.stat().st_size,
    )
