"""Levels in dB below full scale, and meters for an input that is silent or nearly so."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE

SILENCE_DBFS: Final = -120.0
"""A finite level for digital silence: minus infinity is no number to publish."""
FAINT_DBFS: Final = -75.0
"""Below this nothing is heard: the noise of a working microphone in a quiet room is 10 dB louder,
that of one whose hardware mute is on, or whose cable is broken, is often not quite zero."""
_FAINT_POWER: Final = 10 ** (FAINT_DBFS / 10)
_FULL_SCALE: Final = 32_768


def power(samples: NDArray[np.int16] | NDArray[np.float64]) -> float:
    """Mean square of (n,) samples in units of int16, 1.0 at full scale; 0 for none."""
    if not samples.size:
        return 0.0
    # Squares of int16 would overflow, and sums of float32 lose the faint ones.
    exact = samples.astype(np.float64)
    return float(exact @ exact) / samples.size / _FULL_SCALE**2


def dbfs(mean_square: float, *, floor: float = -math.inf) -> float:
    """Power, 1.0 at full scale -> dB below full scale, at least `floor`."""
    return max(floor, 10 * math.log10(mean_square)) if mean_square > 0 else floor


class SilenceMeter:
    """Measures how long the input has been exactly zero, and how long it has been faint."""

    def __init__(self) -> None:
        self._zero_samples = 0
        self._faint_samples = 0

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next (n,) int16 samples; any that is not zero ends the digital silence."""
        mean_square = power(samples)
        if mean_square:
            # The first that is not zero, from the end.
            self._zero_samples = int((samples[::-1] != 0).argmax())
        else:
            self._zero_samples += len(samples)
        is_faint = mean_square < _FAINT_POWER
        self._faint_samples = self._faint_samples + len(samples) if is_faint else 0

    @property
    def silent_s(self) -> float:
        """Seconds of digital silence up to now."""
        return self._zero_samples / SAMPLE_RATE

    @property
    def faint_s(self) -> float:
        """Seconds up to now in which nothing was louder than `FAINT_DBFS`."""
        return self._faint_samples / SAMPLE_RATE
