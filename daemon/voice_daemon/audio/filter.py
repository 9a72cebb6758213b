"""A high-pass filter for streams: voice without an offset, hum and rumble."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE

CUTOFF_HZ: Final = 120.0
_STAGES: Final = 2
"""First-order stages: 14 dB off at 50 Hz."""
_CHUNK_SAMPLES: Final = 512
"""The closed form below divides by the pole's powers, which must not get too small."""


class HighPass:
    """First-order high-pass stages over a stream; the same for any splitting."""

    def __init__(self) -> None:
        self._pole = math.exp(-2 * math.pi * CUTOFF_HZ / SAMPLE_RATE)
        self._powers = self._pole ** np.arange(1, _CHUNK_SAMPLES + 1)
        self._last_in = [0.0] * _STAGES
        self._last_out = [0.0] * _STAGES

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Take the next (n,) int16 samples; return (n,) in the same units."""
        pieces = [
            self._filter(samples[first : first + _CHUNK_SAMPLES].astype(np.float64))
            for first in range(0, len(samples), _CHUNK_SAMPLES)
        ]
        return np.concatenate([np.zeros(0), *pieces])

    def _filter(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        powers = self._powers[: len(signal)]
        for stage in range(_STAGES):
            steps = np.diff(signal, prepend=self._last_in[stage])
            self._last_in[stage] = float(signal[-1])
            # y[n] = p * (y[n - 1] + x[n] - x[n - 1]), solved for a whole chunk at once.
            signal = powers * (self._last_out[stage] + np.cumsum(steps * self._pole / powers))
            self._last_out[stage] = float(signal[-1])
        return signal
