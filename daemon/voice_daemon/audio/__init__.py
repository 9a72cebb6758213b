"""Audio inputs: what a microphone and a file have in common, and the live microphone by name.

`MicrophoneCapture` is imported when it is first asked for: it loads PortAudio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from voice_daemon.events import AudioBlock

if TYPE_CHECKING:  # numpy, soxr and PortAudio's bindings come with it
    from voice_daemon.audio.microphone import MicrophoneCapture

__all__ = ["BLOCK_SAMPLES", "MAX_BLOCKS_TOGETHER", "AudioSource", "MicrophoneCapture"]

BLOCK_SAMPLES = 320
"""Samples in a block where a source may choose: 20 ms."""
MAX_BLOCKS_TOGETHER = 5
"""Blocks that a source may give as one before the sample that its reader wants: 0.1 s."""


def __getattr__(name: str) -> object:
    """Import the microphone's module when the class is first named (PEP 562)."""
    if name == "MicrophoneCapture":
        return import_module("voice_daemon.audio.microphone").MicrophoneCapture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class AudioSource(Protocol):
    """A microphone, or something that plays one: blocks of mono int16 at `SAMPLE_RATE`.

    One thread at a time calls `start`, `read` and `stop`. Samples are counted from 0 at `start`.
    """

    wanted_sample: int
    """The reader's: nothing is needed before this sample, so that blocks may come together."""

    @property
    def description(self) -> str:
        """Name the input for a person: the device with its format, or the file."""

    @property
    def exhausted(self) -> bool:
        """True when there will be no more blocks; a microphone never is."""

    @property
    def dropped_samples(self) -> int:
        """Samples that were delivered but not read in time; each loss is a jump in the count."""

    def start(self) -> None:
        """Open the input; raises `AudioDeviceError` or `AudioFileError`."""

    def now_sample(self) -> int:
        """Return the sample that is being delivered right now, read or not; any thread may ask."""

    def read(self, timeout_s: float) -> AudioBlock | None:
        """Wait at most `timeout_s` for the next block; None when there is none yet, or no more.

        Raises `AudioDeviceError` when the input is gone, `AudioFileError` when it is damaged.
        """

    def stop(self) -> None:
        """Close the input; more than once is harmless."""
