"""What the daemon under test hears: rooms without anybody, and with somebody speaking."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.events import SAMPLE_RATE

QUIET_S = 900
"""Longer than any test."""
NOISE_LSB = 3
"""Not zeros: those are a microphone without permission."""


def quiet_room(path: Path, *, seconds: float = QUIET_S) -> Path:
    """Write a room where nobody speaks."""
    return _write(path, _quiet(seconds))


def spoken(path: Path, text: str) -> Path:
    """Have a text spoken into a file, by a voice that hears itself called Hey Jarvis."""
    flite = shutil.which("flite")
    if flite is None:
        pytest.skip("a spoken text needs flite (Debian: flite)")
    subprocess.run([flite, "-voice", "slt", "-t", text, "-o", path], check=True)
    return path


def spoken_commands(path: Path, *, pauses_s: tuple[float, ...]) -> Path:
    """Write the bundled command after each pause, and then a quiet room."""
    clip: NDArray[np.int16] = soundfile.read(DEMO_CLIP, dtype="int16")[0]
    parts = [part for pause_s in pauses_s for part in (_quiet(pause_s), clip)]
    return _write(path, np.concatenate([*parts, _quiet(QUIET_S)]))


def _quiet(seconds: float) -> NDArray[np.int16]:
    generator = np.random.default_rng(1)
    samples = generator.integers(-NOISE_LSB, NOISE_LSB + 1, int(seconds * SAMPLE_RATE))
    return samples.astype(np.int16)


def _write(path: Path, samples: NDArray[np.int16]) -> Path:
    soundfile.write(path, samples, SAMPLE_RATE)
    return path
