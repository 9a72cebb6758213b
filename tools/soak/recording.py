"""Hours of audio for a soak: a spoken command in every slot, and what a room has between them.

Writes a file piece by piece, so that memory does not grow with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.events import SAMPLE_RATE

COMMAND_SAMPLES: Final = slice(26_000, 48_500)
"""The part of the bundled clip that is the command without its wake word."""
LEAD_S: Final = 1.0
"""Before the earliest wake word of a slot."""
SESSION_S: Final = 6.0
"""From a wake word to the end of its session, and more."""
MIN_SLOT_S: Final = 15.0
QUIET, LOUD = 8.0, 60.0
"""Amplitudes of noise, of 32767."""
BANK_S: Final = 60
"""Noise that is made once, and played from another place in every slot."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be played."""

    hours: float
    every_s: float = 30.0
    seed: int = 1

    @property
    def n_commands(self) -> int:
        """How many commands are spoken."""
        return max(1, round(self.hours * 3600 / self.every_s))

    def write(self, path: Path) -> None:
        """Write it as FLAC, a slot at a time."""
        clip: NDArray[np.int16] = soundfile.read(DEMO_CLIP, dtype="int16")[0]
        room = Room(clip, np.random.default_rng(self.seed), round(self.every_s * SAMPLE_RATE))
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
            for number in range(self.n_commands):
                file.write(room.slot(number))


class Room:
    """Makes slots, no two alike: another noise, another loudness, another moment."""

    def __init__(
        self, clip: NDArray[np.int16], random: np.random.Generator, n_samples: int
    ) -> None:
        """`clip`: the wake word and the command, (n,) samples."""
        self._clip = clip.astype(np.float32)
        self._random = random
        self._n_samples = n_samples
        self._noise = random.standard_normal(BANK_S * SAMPLE_RATE).astype(np.float32)

    def slot(self, number: int) -> NDArray[np.int16]:
        """(n_samples,): one command, then digital silence, a hiss, a noise or mere talk."""
        session = round(SESSION_S * SAMPLE_RATE) + len(self._clip)
        latest = self._n_samples - session
        began = int(self._random.integers(round(LEAD_S * SAMPLE_RATE), latest))
        slot = self._hiss(QUIET) if number % 4 else np.zeros(self._n_samples, np.float32)
        slot[began : began + len(self._clip)] += self._clip * self._random.uniform(0.5, 1.0)
        after = began + session
        match number % 4:
            case 2:
                slot[after:] += self._hiss(LOUD)[after:]
            case 3:
                talk = self._clip[COMMAND_SAMPLES][: self._n_samples - after]
                slot[after : after + len(talk)] += talk
            case _:
                pass
        return np.clip(slot, -32768, 32767).astype(np.int16)

    def _hiss(self, level: float) -> NDArray[np.float32]:
        places = self._random.integers(len(self._noise)) + np.arange(self._n_samples)
        return level * np.take(self._noise, places, mode="wrap")
