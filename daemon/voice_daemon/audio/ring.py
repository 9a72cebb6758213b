"""A ring buffer of the newest audio, by absolute sample index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voice_daemon.events import AudioBlock


class RingBuffer:
    """Keeps the last `capacity_samples`; audio that was lost reads as zeros."""

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"a ring of {capacity_samples} samples holds nothing")
        self._store = np.zeros(capacity_samples, np.int16)
        self._first_sample = 0
        self._end_sample = 0

    @property
    def first_sample(self) -> int:
        """Index of the oldest sample held."""
        return self._first_sample

    @property
    def end_sample(self) -> int:
        """One past the index of the newest sample."""
        return self._end_sample

    def push(self, block: AudioBlock) -> None:
        """Append a block; what lies between it and the last one was lost.

        Raises `ValueError` for a block that begins before the end of the last one.
        """
        if self._first_sample == self._end_sample:
            # Empty, it begins wherever the block does.
            self._first_sample = self._end_sample = block.first_sample
        gap = block.first_sample - self._end_sample
        if gap < 0:
            raise ValueError(
                f"a block begins at sample {block.first_sample}, before {self._end_sample}"
            )
        capacity = self._store.size
        if gap < capacity:
            self._append(np.zeros(gap, np.int16))
        else:
            self._store[:] = 0
            self._end_sample = block.first_sample
        # The index moves on by the whole block, of which only the newest part can be kept.
        unkept = max(0, block.samples.size - capacity)
        self._end_sample += unkept
        self._append(block.samples[unkept:])
        self._first_sample = max(self._first_sample, self._end_sample - capacity)

    def read(self, first_sample: int, end_sample: int) -> NDArray[np.int16]:
        """Copy [first_sample, end_sample) as (n,) int16, cut to what is held."""
        first = max(first_sample, self._first_sample)
        end = max(first, min(end_sample, self._end_sample))
        return self._store[np.arange(first, end) % self._store.size]

    def resized(self, capacity_samples: int) -> RingBuffer:
        """Make a ring of another size that holds what this one does, as far as it fits."""
        ring = RingBuffer(capacity_samples)
        ring.push(AudioBlock(self._first_sample, self.read(self._first_sample, self._end_sample)))
        return ring

    def clear(self) -> None:
        """Forget all audio; zeroes the memory too, as it may hold what nobody should keep."""
        self._store[:] = 0
        self._first_sample = self._end_sample

    def _append(self, samples: NDArray[np.int16]) -> None:
        """Write up to `capacity` samples at the end."""
        at = self._end_sample % self._store.size
        until_edge = self._store.size - at
        self._store[at : at + samples.size] = samples[:until_edge]
        self._store[: max(0, samples.size - until_edge)] = samples[until_edge:]
        self._end_sample += samples.size
