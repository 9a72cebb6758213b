"""What the sessions of a pipeline share: audio, models, numbers and the count of what was done.

Knows how other numbers take over from the present ones; knows nothing of what a session does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from voice_daemon.events import ms_to_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.audio.ring import RingBuffer
    from voice_daemon.session.options import (
        PipelineOptions,
        Tally,
        Transcriber,
        VoiceActivityDetector,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A session keeps those with which it was opened."""

    ring: RingBuffer
    vad: VoiceActivityDetector
    transcriber: Transcriber
    options: PipelineOptions
    now_sample: Callable[[], int]
    tally: Tally

    def with_silence(self, silence_ms: float) -> Surroundings:
        """Give the same with another silence that ends a command."""
        return replace(self, options=replace(self.options, silence_ms=silence_ms))

    def governed_by(self, options: PipelineOptions) -> Surroundings:
        """Give the same with other numbers and as much audio as they want, but this silence."""
        return replace(
            self,
            options=replace(options, silence_ms=self.options.silence_ms),
            ring=self.ring.resized(ms_to_samples(options.history_ms())),
        )
