"""What each device hears of one speaker: the same words, as loud and as late as it stands far.

Deterministic: a seed gives the same recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.events import SAMPLE_RATE

FIRST_AT_S = 2.5
"""The wake detector hears nothing in its first two seconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How often the wake word and a command are spoken, and how differently they are heard."""

    tries: int
    every_s: float = 5.5
    """From one wake word to the next; the command and its session fit in between."""
    skew_ms: float = 60
    """The latest device hears each try by up to this much after the first."""
    gains_db: tuple[float, float] = (-14, 0)
    noises_dbfs: tuple[float, float] = (-70, -38)
    seed: int = 1

    @property
    def seconds(self) -> float:
        return FIRST_AT_S + self.tries * self.every_s


def write_recording(path: Path, scenario: Scenario, *, device: int) -> None:
    """Write what one device hears of all tries."""
    random = np.random.default_rng([scenario.seed, device])
    clip, _ = soundfile.read(DEMO_CLIP, dtype="float32")
    audio = random.normal(0, 2e-4, round(scenario.seconds * SAMPLE_RATE)).astype(np.float32)
    for number in range(scenario.tries):
        late_s = random.uniform(0, scenario.skew_ms) / 1000
        at = round((FIRST_AT_S + number * scenario.every_s + late_s) * SAMPLE_RATE)
        gain_db, noise_dbfs = (
            random.uniform(*bounds) for bounds in (scenario.gains_db, scenario.noises_dbfs)
        )
        audio[at : at + len(clip)] += _level(gain_db) * clip
        audio[at : at + len(clip)] += _noise(random, len(clip), _level(noise_dbfs))
    soundfile.write(path, np.clip(audio, -1, 1), SAMPLE_RATE, "PCM_16")


def _level(db: float) -> float:
    return float(10 ** (db / 20))


def _noise(random: np.random.Generator, n_samples: int, level: float) -> NDArray[np.float32]:
    noise: NDArray[np.float32] = random.normal(0, level, n_samples).astype(np.float32)
    return noise
