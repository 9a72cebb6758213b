"""Cuts blocks into equal frames; of lost audio a short gap becomes silence, a long one a break."""

import numpy as np

from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import AudioBlock

FRAME_SAMPLES = 256
"""The grain at which audio is processed: 16 ms; it divides the wake frame of 1280 samples."""


class Framer:
    """Blocks of any size in (`take`), frames of equal size out (`next_frame`)."""

    def __init__(self, *, max_gap_samples: int) -> None:
        self._max_gap_samples = max_gap_samples
        self._pending = np.zeros(0, np.int16)
        self._expected: int | None = None
        self.lost_samples = 0
        """Samples that the input never delivered."""

    @property
    def position(self) -> int | None:
        """First sample not yet handed out in a frame; None when no input is known."""
        return None if self._expected is None else self._expected - self._pending.size

    def take(self, block: AudioBlock) -> bool:
        """Take a block; return True when it does not continue what came before.

        A gap of up to `max_gap_samples` is filled with silence. Raises `AudioDeviceError` for
        a block that is not (n,) int16, or that begins before the end of the last one.
        """
        if block.samples.dtype != np.int16 or block.samples.ndim != 1:
            raise AudioDeviceError(
                "audio.block",
                f"a block holds {block.samples.dtype} of shape {block.samples.shape}",
                remedy="deliver mono int16 of shape (n,)",
            )
        if not block.samples.size:
            return False
        gap = self._gap_before(block.first_sample)
        silence = np.zeros(gap or 0, np.int16)
        if gap is None:
            self.forget()
        self._pending = np.concatenate((self._pending, silence, block.samples))
        self._expected = block.first_sample + block.samples.size
        return gap is None

    def next_frame(self, n_samples: int) -> AudioBlock | None:
        """Give the next `n_samples`; None while there are fewer, which wait for the next block."""
        first = self.position
        if first is None or self._pending.size < n_samples:
            return None
        samples, self._pending = self._pending[:n_samples], self._pending[n_samples:].copy()
        return AudioBlock(first, samples)

    def skip(self, block: AudioBlock) -> None:
        """Pass over a block unheard, and forget what waited for a whole frame."""
        self.forget()
        self._expected = block.first_sample + block.samples.size

    def lose(self) -> None:
        """Lose the place as well: the next block may begin anywhere."""
        self.forget()
        self._expected = None

    def forget(self) -> None:
        """Zero what waited for a whole frame, and drop it."""
        self._pending[:] = 0
        self._pending = self._pending[:0]

    def _gap_before(self, first_sample: int) -> int | None:
        """Return the samples that are missing before a block; None when it starts afresh."""
        if self._expected is None:
            return None
        gap = first_sample - self._expected
        if gap < 0:
            raise AudioDeviceError(
                "audio.backwards",
                f"a block begins at sample {first_sample}, before {self._expected}",
                remedy="this is a fault in the audio source: please report it with the log",
            )
        if gap:
            self.lost_samples += gap
        return gap if gap <= self._max_gap_samples else None
