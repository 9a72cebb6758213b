"""One decode of the whole clip with the same weights: what streaming is measured against.

Whisper reads 30 s at once. A longer clip is cut where it is quietest, so that no window begins
or ends inside a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tools.bench.metrics import TimedWord
from tools.bench.replay import Reading
from tools.bench.text import words_of
from voice_daemon.asr import DecodingOptions, DecodingResult, DecodingTask, WhisperModel, load_model
from voice_daemon.events import SAMPLE_RATE

Samples = NDArray[np.float32]

WINDOW_S: Final = 30
SHORTEST_S: Final = 20
"""A window is cut no sooner than this."""
QUIET_SAMPLES: Final = round(0.2 * SAMPLE_RATE)
"""The stretch whose loudness is compared."""
FRAME_S: Final = 0.02


class Offline:
    """`DecodingTask`, for the audio fed once it is all there."""

    has_draft = False

    def __init__(self, model: WhisperModel) -> None:
        self._model = model
        self._pieces: list[Samples] = []
        self._language = "en"
        self.words: tuple[TimedWord, ...] = ()
        """Of the last `finish`: when each word ends, by the frame that it attends to."""

    def start(self, *, step_s: float | None, language: str) -> None:  # noqa: ARG002 - no steps
        self._pieces = []
        self._language = language

    def feed(self, samples: Samples) -> None:
        self._pieces.append(samples)

    def step(self) -> Reading:
        return Reading("")

    def finish(self) -> str:
        task = DecodingTask(self._model, DecodingOptions(language=self._language))
        texts: list[str] = []
        words: list[TimedWord] = []
        from_s = 0.0
        for window in windows(np.concatenate(self._pieces)):
            result = task.run(window)
            texts.append(result.text)
            words += self._timed(result, from_s)
            from_s += len(window) / SAMPLE_RATE
        self.words = tuple(words)
        return " ".join(texts).strip()

    def _timed(self, result: DecodingResult, from_s: float) -> Iterator[TimedWord]:
        frames = list(result.frames)
        split = self._model.tokenizer.split_words(result.tokens, language=result.language)
        for text, tokens in split if frames else ():
            last = max(frames[: len(tokens)])
            frames = frames[len(tokens) :]
            for word in words_of(text):
                yield TimedWord(word, from_s + (last + 1) * FRAME_S)


def windows(samples: Samples) -> Iterator[Samples]:
    """Cut (n,) samples into windows of at most 30 s, at their quietest places."""
    longest, shortest = WINDOW_S * SAMPLE_RATE, SHORTEST_S * SAMPLE_RATE
    while len(samples) > longest:
        energy = np.square(samples[shortest:longest], dtype=np.float64)
        sums = np.cumsum(np.concatenate(([0.0], energy)))
        quietest = int(np.argmin(sums[QUIET_SAMPLES:] - sums[:-QUIET_SAMPLES]))
        cut = shortest + quietest + QUIET_SAMPLES // 2
        yield samples[:cut]
        samples = samples[cut:]
    yield samples


def load(model: Path) -> Offline:
    """Load the weights of a folder or file."""
    return Offline(load_model(model))
