"""This project's streaming recogniser, by its public names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.replay import Reading
from voice_daemon.asr import StreamingConfig, StreamingDecoder, WhisperModel, load_model
from voice_daemon.session.options import PipelineOptions


class Ours:
    """`StreamingDecoder`, one for each step length and language, used again for every clip."""

    has_draft = True
    final_within_s = 0.0
    """Time that a final may take: without any it is read beside cached silence."""

    def __init__(self, model: WhisperModel, config: StreamingConfig | None = None) -> None:
        self.model = model
        self._config = config or StreamingConfig()
        self._decoders: dict[tuple[float, str], StreamingDecoder] = {}
        self._decoder: StreamingDecoder
        self._options = PipelineOptions()

    def start(self, *, step_s: float | None, language: str) -> None:
        key = (step_s or self._config.min_chunk_duration, language)
        if key not in self._decoders:
            config = replace(self._config, min_chunk_duration=key[0], language=language)
            self._decoders[key] = StreamingDecoder(self.model, config)
        self._decoder = self._decoders[key]
        self._decoder.reset()

    def feed(self, samples: NDArray[np.float32]) -> None:
        self._decoder.feed(samples)

    def step(self) -> Reading:
        results = self._decoder.step()
        result = results[-1] if results else self._decoder.snapshot()
        return Reading(result.text, result.draft)

    def finish(self) -> str:
        """The final, unless the daemon would drop it as nobody's words."""
        result = self._decoder.finish(within_s=self.final_within_s)
        nobody = result.no_speech_prob > self._options.no_speech_threshold
        unsure = result.confidence < self._options.low_confidence
        return "" if nobody and unsure else result.text


def load(model: Path) -> Ours:
    """Load the weights of a folder or file."""
    return Ours(load_model(model))
