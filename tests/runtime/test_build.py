"""A recogniser that does not read a known recording is not put to work."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from voice_daemon.asr import WhisperModel
from voice_daemon.asr.load import load_model
from voice_daemon.config import STEP_S_MAX, AsrSettings
from voice_daemon.errors import ModelError
from voice_daemon.runtime import build


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the device compute wrongly: a sign is lost in the encoder."""

    def load(folder: Path, dtype: str) -> WhisperModel:
        model = load_model(folder, dtype)
        model.encoder.conv2.weight = mx.abs(model.encoder.conv2.weight)
        return model

    monkeypatch.setattr(build, "load_model", load)


def test_a_device_that_computes_wrongly_is_refused(
    wrong: None,  # noqa: ARG001 - the fault
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match="of 5 words") as raised:
        build.load_transcriber(AsrSettings(step_s=STEP_S_MAX), tmp_path)
    assert raised.value.code == "asr.self_test"
    assert "asr.dtype" in raised.value.remedy


def test_a_model_for_another_language_need_not_read_english(
    wrong: None,  # noqa: ARG001 - as one that knows no English
    tmp_path: Path,
) -> None:
    transcriber = build.load_transcriber(AsrSettings(language="de", step_s=STEP_S_MAX), tmp_path)
    assert transcriber.passed_self_test is False


@pytest.mark.slow  # every daemon of tests/e2e starts so
def test_a_device_that_computes_rightly_is_not(tmp_path: Path) -> None:
    transcriber = build.load_transcriber(AsrSettings(step_s=0.3), tmp_path)
    assert transcriber.passed_self_test is True
