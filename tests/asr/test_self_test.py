"""The recogniser's self-test: it tells a device that computes wrongly from one that does not."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.asr import WhisperModel, WhisperTranscriber, load_model
from voice_daemon.asr.self_test import EXPECTED, SelfTest, self_test
from voice_daemon.audio.resample import to_int16


def test_a_model_that_computes_rightly_passes(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    found = self_test(WhisperTranscriber(tiny), to_int16(command_speech))
    assert found.passed
    assert found.n_words == len(EXPECTED)


def _forget_the_audio(weights: mx.array) -> mx.array:
    return mx.zeros_like(weights)


def _lose_a_sign(weights: mx.array) -> mx.array:
    return mx.abs(weights)


def _overflow(weights: mx.array) -> mx.array:
    return mx.full(weights.shape, float("nan"), weights.dtype)


@pytest.mark.slow  # tests/runtime/test_build.py loses the sign, and sees what becomes of it
@pytest.mark.parametrize("fault", [_lose_a_sign, _forget_the_audio, _overflow])
def test_an_encoder_that_computes_wrongly_fails(
    tiny_folder: Path, command_speech: NDArray[np.float32], fault: object
) -> None:
    """As reported of GPUs: finite and wrong, or not a number at all."""
    model = load_model(tiny_folder, dtype="float32")
    assert callable(fault)
    model.encoder.conv2.weight = fault(model.encoder.conv2.weight)
    found = self_test(WhisperTranscriber(model), to_int16(command_speech))
    assert not found.passed
    assert str(found).startswith(f"{found.n_words} of 5 words")


def test_it_leaves_the_transcriber_as_it_was(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    transcriber = WhisperTranscriber(tiny)
    self_test(transcriber, to_int16(command_speech))
    transcriber.start(wake_phrase="Hey Jarvis")
    transcriber.feed(to_int16(command_speech))
    assert transcriber.finish().text.lower() == "turn on the kitchen lights."


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("Turn on the kitchen lights.", True),
        ("turn on the kitchen light", True),  # a small model's ear
        ("Turn off the light in the kitchen.", False),
        ("The the the the the the", False),
        ("Thank you.", False),
        ("", False),
    ],
)
def test_one_word_may_be_misheard_and_no_more(text: str, *, passed: bool) -> None:
    assert SelfTest(text).passed is passed
