"""A recogniser's cost on this machine, measured by streaming one recording.

Apart from `models.measurements`, which keeps and reads the figures: they are shown without MLX.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.load import free_unused_memory, load_model, take_peak_memory_bytes
from voice_daemon.asr.streaming import StreamingConfig
from voice_daemon.asr.transcriber import WhisperTranscriber
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models.measurements import Measurement
from voice_daemon.models.store import size_of

ROUNDS: Final = 3
"""The fastest counts: whatever else the machine does only ever slows a round down."""


def measure(
    folder: Path, config: StreamingConfig, clip: NDArray[np.int16], *, dtype: str, step_s: float
) -> Measurement:
    """Load the model in `folder`, warm it and stream `clip`, (n_samples,) at 16 kHz.

    Raises `ModelError`.
    """
    # Memory is the process's peak: what an earlier model left must not count for this one.
    free_unused_memory()
    take_peak_memory_bytes()
    begun_s = time.perf_counter()
    transcriber = WhisperTranscriber(load_model(folder, dtype), config)
    transcriber.warm_up()
    load_s = time.perf_counter() - begun_s
    step = round(step_s * SAMPLE_RATE)
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
