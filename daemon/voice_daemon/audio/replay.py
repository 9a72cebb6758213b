"""A file in the place of a microphone: the file, then the silence of a quiet room.

An `AudioSource` around a `WavSource`. The silence lets the endpoint close a session that the
file leaves open. Knows nothing of sessions beyond whether one is open.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from voice_daemon.events import SAMPLE_RATE, AudioBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.audio import AudioSource

SILENCE_BLOCK_SAMPLES: Final = 1280
MIN_SILENCE_S: Final = 2.0
"""Silence that is always played: a wake word at the very end is detected up to a second late."""


class Replay:
    """Plays `file`, then silence without end; in real time, or as fast as it is read."""

    exhausted = False
    """Never: the silence goes on until `is_over`."""

    def __init__(
        self,
        file: AudioSource,
        *,
        realtime: bool,
        max_silence_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`max_silence_s`: enough to close any session that the file may leave open."""
        self._file = file
        self._realtime = realtime
        self._max_silence_s = max_silence_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._end_sample = 0
        self._silence_samples = 0
        self._file_ended: tuple[int, float] | None = None

    @property
    def description(self) -> str:
        """What is played."""
        return self._file.description

    @property
    def dropped_samples(self) -> int:
        """Samples that the file could not deliver."""
        return self._file.dropped_samples

    @property
    def clock(self) -> Replay:
        """The live clock, which goes on in the silence."""
        return self

    def start(self) -> None:
        """Open the file."""
        self._file.start()

    def stop(self) -> None:
        """Close the file."""
        self._file.stop()

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Give the next block of the file or of the silence; None when it is not due yet."""
        if self._file_ended is None:
            if not self._file.exhausted:
                block = self._file.read(timeout_s)
                if block is not None:
                    self._end_sample = block.first_sample + len(block.samples)
                return block
            self._file_ended = (self._file.clock.now_sample(), self._monotonic())
        return self._silence(timeout_s)

    def now_sample(self) -> int:
        """Give the sample that a microphone would be delivering right now."""
        if self._file_ended is None:
            return self._file.clock.now_sample()
        if not self._realtime:
            return self._end_sample
        sample, at_s = self._file_ended
        return max(self._end_sample, sample + int((self._monotonic() - at_s) * SAMPLE_RATE))

    def is_over(self, *, session_open: bool) -> bool:
        """Tell whether there is nothing left to wait for."""
        silence_s = self._silence_samples / SAMPLE_RATE
        return silence_s >= (self._max_silence_s if session_open else MIN_SILENCE_S)

    def _silence(self, timeout_s: float) -> AudioBlock | None:
        if self._realtime:
            missing = self._end_sample + SILENCE_BLOCK_SAMPLES - self.now_sample()
            if missing > 0:
                self._sleep(min(timeout_s, missing / SAMPLE_RATE))
                if missing / SAMPLE_RATE > timeout_s:
                    return None
        block = AudioBlock(self._end_sample, np.zeros(SILENCE_BLOCK_SAMPLES, np.int16))
        self._end_sample += SILENCE_BLOCK_SAMPLES
        self._silence_samples += SILENCE_BLOCK_SAMPLES
        return block
