"""Streaming sample rate, gain, sample format and high-pass filter, to `SAMPLE_RATE`."""

import math
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from voice_daemon.events import SAMPLE_RATE, AudioBlock

RATE_MIN_HZ: Final = 1_000
RATE_MAX_HZ: Final = 768_000
FULL_SCALE: Final = 32_768
"""int16 samples per 1.0; a power of two, so that int16 -> float -> int16 changes nothing."""


def to_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """(n,) int16 -> (n,) float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """(n,) float32 -> (n,) int16, rounded, and clipped to full scale."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    clipped: NDArray[np.float32] = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
    return clipped.astype(np.int16)


def apply_gain(samples: NDArray[np.float32], gain_db: float) -> NDArray[np.float32]:
    """(n,) float32 -> (n,) float32, `gain_db` louder; clipping is left to `to_int16`."""
    return samples * np.float32(10 ** (gain_db / 20)) if gain_db else samples


class StreamResampler:
    """A stream at `rate_hz` -> the same at `to_hz`.

    Output sample k is the input at k / to_hz seconds: the filter's delay is taken off,
    so output comes some milliseconds late and `finish` brings the rest.
    """

    def __init__(self, rate_hz: int, *, to_hz: int = SAMPLE_RATE) -> None:
        self._stream = None
        if rate_hz != to_hz:
            self._stream = soxr.ResampleStream(rate_hz, to_hz, 1, dtype="float32")

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next (n,) samples; return those that are ready, perhaps none."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Return what is left; nothing may be fed afterwards."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        return np.asarray(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))


class BlockConverter:
    """Blocks at the device's rate -> blocks at `SAMPLE_RATE`; lost audio stays a gap."""

    def __init__(self, *, rate_hz: int, gain_db: float) -> None:
        self._rate_hz = rate_hz
        self._gain_db = gain_db
        self._resampler = StreamResampler(rate_hz)
        self._expected = 0
        self._next_sample = 0

    def feed(self, first_sample: int, samples: NDArray[np.int16]) -> AudioBlock | None:
        """Take (n,) samples that begin at the device's `first_sample`; None: nothing ready."""
        if first_sample != self._expected:
            self._resampler = StreamResampler(self._rate_hz)
            # A new filter: what was before the gap must not ring on behind it.
            self._next_sample = self.at_output_rate(first_sample)
        self._expected = first_sample + len(samples)
        converted = self._resampler.feed(apply_gain(to_float(samples), self._gain_db))
        if not len(converted):
            return None
        block = AudioBlock(self._next_sample, to_int16(converted))
        self._next_sample += len(converted)
        return block

    def at_output_rate(self, n_samples: int) -> int:
        """Device samples -> samples at `SAMPLE_RATE`."""
        return round(n_samples * SAMPLE_RATE / self._rate_hz)


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
