"""An open utterance as its connection sees it: audio in any format in, and how much of it waits.

Lives on the event loop. Knows nothing of sockets and events.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from voice_daemon.errors import WyomingError
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wyoming.pcm import PcmConverter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voice_daemon.wyoming.parts import Limits
    from voice_daemon.wyoming.pcm import PcmFormat
    from voice_daemon.wyoming.stream import ClientStream


class Utterance:
    """The audio of one utterance on its way to the model thread."""

    def __init__(self, stream: ClientStream, limits: Limits) -> None:
        self.stream = stream
        self.sent = ""
        """The text that was sent in parts."""
        self.room = asyncio.Event()
        """Set while more audio may come."""
        self.over = asyncio.Event()
        """Set once the last report was passed on."""
        self._limits = limits
        self._pcm: PcmFormat | None = None
        self._converter: PcmConverter | None = None
        self._audio_s = 0.0
        self.room.set()

    def take(self, pcm: PcmFormat, payload: bytes) -> None:
        """Pass a chunk on; raises `WyomingError` for one that is too long."""
        chunk_s = pcm.seconds(len(payload))
        self._audio_s += chunk_s
        if chunk_s > self._limits.max_chunk_s or self._audio_s > self._limits.max_audio_s:
            raise WyomingError(
                "wyoming.too_long",
                f"that is more than {self._limits.max_audio_s:g} s of audio, "
                f"or {self._limits.max_chunk_s:g} s in one chunk",
                remedy="send it in parts, each with its own audio-stop",
            )
        if self._converter is None or pcm != self._pcm:
            self._drain()
            self._pcm, self._converter = pcm, PcmConverter(pcm)
        self._feed(self._converter.feed(payload))
        self.follow()

    def end(self) -> None:
        """Pass on that this was all."""
        self._drain()
        self.stream.end()

    def follow(self) -> None:
        """Open or close `room` by what waits."""
        if self.stream.backlog_samples > self._limits.max_backlog_s * SAMPLE_RATE:
            self.room.clear()
        else:
            self.room.set()

    def _drain(self) -> None:
        if self._converter is not None:
            self._feed(self._converter.finish())
            self._converter = None

    def _feed(self, samples: NDArray[np.int16]) -> None:
        if samples.size:
            self.stream.feed(samples)
