"""Raw audio of any rate, width and number of channels -> int16 mono at our sample rate.

Streaming: chunks may end anywhere, even inside a sample. Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from voice_daemon.audio.resample import StreamResampler, to_int16
from voice_daemon.errors import WyomingError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wyoming.framing import shown

RATES_HZ: Final = range(4_000, 384_001)
WIDTHS_BYTES: Final = range(1, 5)
CHANNELS: Final = range(1, 17)


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """Little-endian integers, interleaved; of one byte, unsigned, as in a WAV file."""

    rate_hz: int
    width_bytes: int
    channels: int

    @classmethod
    def of(cls, data: Mapping[str, object]) -> PcmFormat:
        """Read the format from an audio event's data; raises `WyomingError`."""
        return cls(
            _number(data, "rate", RATES_HZ),
            _number(data, "width", WIDTHS_BYTES),
            _number(data, "channels", CHANNELS),
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.width_bytes * self.channels

    def seconds(self, n_bytes: int) -> float:
        """Duration of so many bytes."""
        return n_bytes / self.frame_bytes / self.rate_hz


class PcmConverter:
    """One stream of one format: `feed`, and `finish` for what the resampler still holds."""

    def __init__(self, pcm: PcmFormat, *, to_hz: int = SAMPLE_RATE) -> None:
        self._pcm = pcm
        self._resampler = StreamResampler(pcm.rate_hz, to_hz=to_hz)
        self._rest = b""

    def feed(self, payload: bytes) -> NDArray[np.int16]:
        """Take the next bytes; return the (n,) samples that are ready."""
        audio = self._rest + payload
        n_whole = len(audio) - len(audio) % self._pcm.frame_bytes
        self._rest = audio[n_whole:]
        return to_int16(self._resampler.feed(_mono(audio[:n_whole], self._pcm)))

    def finish(self) -> NDArray[np.int16]:
        """Return the last (n,) samples."""
        return to_int16(self._resampler.finish())


def _mono(audio: bytes, pcm: PcmFormat) -> NDArray[np.float32]:
    """Whole frames -> (n,) float32 in [-1, 1): the mean of the channels."""
    samples = _samples(audio, pcm.width_bytes).reshape(-1, pcm.channels)
    mono: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    return mono


def _samples(audio: bytes, width_bytes: int) -> NDArray[np.float32]:
    """(n,) float32 in [-1, 1)."""
    if width_bytes == 1:
        centred = np.frombuffer(audio, np.uint8).astype(np.float32) - 128
        return centred / np.float32(128)
    # Fewer bits become the upper bytes of 32.
    raw = np.frombuffer(audio, np.uint8).reshape(-1, width_bytes)
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width_bytes :] = raw
    return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _number(data: Mapping[str, object], key: str, allowed: range) -> int:
    value = data.get(key)
    if type(value) is not int or value not in allowed:
        raise WyomingError(
            "wyoming.audio_format",
            f"audio with {key} {shown(value)} cannot be used",
            remedy=f"send a whole number from {allowed[0]} to {allowed[-1]}",
        )
    return value
