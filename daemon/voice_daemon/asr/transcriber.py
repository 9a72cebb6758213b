"""The recogniser as the pipeline wants it: int16 audio in, `Hypothesis` and `Transcript` out.

Owns the warm-up and the one streaming decoder that sessions share in turn. Everything here
runs on the thread that made it (MLX's streams are thread-local).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from voice_daemon.asr.acoustic import silent_window
from voice_daemon.asr.streaming import StreamingConfig, StreamingDecoder
from voice_daemon.events import SAMPLE_RATE, Hypothesis, Transcript

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from voice_daemon.asr.streaming import StreamingResult
    from voice_daemon.asr.whisper import WhisperModel


class WhisperTranscriber:
    """One utterance after another: `start`, then `feed`, `step` and `finish`, then `reset`."""

    def __init__(self, model: WhisperModel, config: StreamingConfig | None = None) -> None:
        self._decoder = StreamingDecoder(
            model, config or StreamingConfig(), silence=silent_window(model)
        )

    def warm_up(self) -> None:
        """Run every path once, so that the first command is not the slow one.

        Raises whatever the model raises: a recogniser that cannot warm up must not be used.
        """
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * 0.1
        self._decoder.reset()
        for first in range(0, len(tone), SAMPLE_RATE // 2):
            self._decoder.feed(tone[first : first + SAMPLE_RATE // 2])
            self._decoder.step()
        self._decoder.finish()
        self._decoder.reset()

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance whose audio opens with `wake_phrase`, which is not transcribed."""
        self._decoder.reset(spoken_prefix=f"{wake_phrase}." if wake_phrase else "")

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Append (n,) int16 samples at 16 kHz."""
        self._decoder.feed(samples)

    def step(self) -> Hypothesis:
        """One streaming step over what was fed."""
        results = self._decoder.step()
        result = results[-1] if results else self._decoder.snapshot()
        return Hypothesis(
            text=result.text,
            draft=result.draft,
            language=result.language,
            words=result.words,
            ended=result.ended,
            confidence=result.confidence,
            no_speech_prob=result.no_speech_prob,
        )

    def finish(self) -> Transcript:
        """A free decode of everything fed; feeding more afterwards makes it stale."""
        return _transcript(self._decoder.finish())

    def reset(self) -> None:
        """Forget the utterance."""
        self._decoder.reset()


def _transcript(result: StreamingResult) -> Transcript:
    return Transcript(
        text=result.text,
        revised=result.revised,
        language=result.language,
        words=result.words,
        confidence=result.confidence,
        no_speech_prob=result.no_speech_prob,
        ended=result.ended,
        completeness=result.completeness,
    )
