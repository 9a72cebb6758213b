"""How much the recogniser computed for how much audio.

A transcriber around a transcriber; knows nothing of models or sessions.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_daemon.events import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.events import Hypothesis, Transcript
    from voice_daemon.session.options import Transcriber


@dataclass(frozen=True, slots=True)
class Effort:
    """What one session cost."""

    compute_s: float = 0.0
    audio_s: float = 0.0
    steps: int = 0

    @property
    def rtf(self) -> float | None:
        """Compute time by audio time; None when there was no audio."""
        return self.compute_s / self.audio_s if self.audio_s else None


class Stopwatch:
    """A `Transcriber` that passes everything on and keeps the time."""

    def __init__(
        self, transcriber: Transcriber, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._transcriber = transcriber
        self._clock = clock
        self._compute_s = 0.0
        self._samples = 0
        self._steps = 0

    def use(self, transcriber: Transcriber) -> None:
        """Pass everything on to another one from now on; for between two utterances."""
        self._transcriber = transcriber

    def take(self) -> Effort:
        """Give the effort since the last call, and start over."""
        effort = Effort(self._compute_s, self._samples / SAMPLE_RATE, self._steps)
        self._compute_s, self._samples, self._steps = 0.0, 0, 0
        return effort

    def start(self, *, wake_phrase: str | None) -> None:
        """Begin an utterance."""
        with self._timing():
            self._transcriber.start(wake_phrase=wake_phrase)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) samples."""
        self._samples += len(samples)
        with self._timing():
            self._transcriber.feed(samples)

    def step(self) -> Hypothesis:
        """Run one streaming step."""
        self._steps += 1
        with self._timing():
            return self._transcriber.step()

    def finish(self) -> Transcript:
        """Read all that was fed."""
        with self._timing():
            return self._transcriber.finish()

    def reset(self) -> None:
        """Forget the utterance."""
        with self._timing():
            self._transcriber.reset()

    @contextmanager
    def _timing(self) -> Iterator[None]:
        started_s = self._clock()
        try:
            yield
        finally:
            self._compute_s += self._clock() - started_s
