"""What the recogniser's tests share: the bundled model, loaded once, and real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from support.silence import shared_silence
from support.tiny_model import tiny_model
from support.whisper_files import tiny_en_folder
from voice_daemon.asr import WhisperModel
from voice_daemon.asr.incremental_encoder import SilenceCache


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The bundled tiny.en in CTranslate2's layout."""
    return tiny_en_folder()


@pytest.fixture(scope="session")
def tiny() -> WhisperModel:
    """The bundled tiny.en, ready to run, in float32 whatever the device."""
    return tiny_model()


@pytest.fixture(scope="session")
def silence(tiny: WhisperModel) -> SilenceCache:
    """Thirty seconds of silence as the bundled tiny.en hears it."""
    return shared_silence(tiny)


@pytest.fixture(scope="session")
def command_speech(demo_clip: Path) -> NDArray[np.float32]:
    """(n,) float32: the bundled clip, wake word and command."""
    samples, rate = sf.read(demo_clip, dtype="float32")
    assert rate == 16_000
    speech: NDArray[np.float32] = samples
    return speech
