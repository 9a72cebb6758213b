"""What a stream's callback delivered, between the callback and its reader.

The callback copies and counts and does nothing else: it may neither wait nor fail. Knows nothing
of devices or of sample rates.
"""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one callback delivered; samples are counted at the device's own rate."""

    first_sample: int
    samples: NDArray[np.int16]
    arrived_at_s: float
    after_s: float
    """Since the callback before; long when the device stood still, or this process."""


class Inbox:
    """Between the callback of one stream and its reader.

    Every stream gets its own, so that a late callback of an old one reaches nobody.
    """

    def __init__(self, max_blocks: int) -> None:
        self.queue: queue.Queue[Arrival | None] = queue.Queue(max_blocks)
        self.delivered_samples = 0
        self.dropped_samples = 0
        self.overflows = 0
        self.arrived_at_s = time.monotonic()
        self.lost = False

    def on_audio(self, audio: NDArray[np.int16], n_frames: int, _times: Any, status: Any) -> None:  # noqa: ANN401 - sounddevice has no types
        """Take (n_frames, n_channels): the first channel counts, others may be references."""
        before_s, self.arrived_at_s = self.arrived_at_s, time.monotonic()
        after_s = self.arrived_at_s - before_s if self.delivered_samples else 0.0
        first_sample = self.delivered_samples
        self.delivered_samples += n_frames
        if status:
            self.overflows += 1
        try:
            samples = audio[:, 0].copy()
            self.queue.put_nowait(Arrival(first_sample, samples, self.arrived_at_s, after_s))
        except queue.Full:
            self.dropped_samples += n_frames

    def on_finished(self) -> None:
        """Take note that the stream ended; wakes a reader that waits."""
        self.lost = True
        with suppress(queue.Full):
            self.queue.put_nowait(None)
