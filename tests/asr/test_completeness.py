"""Whether a sentence is complete, as the real model hears it on the bundled clip."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.asr import WhisperModel, WhisperTranscriber
from voice_daemon.asr.alignatt import DraftWord
from voice_daemon.asr.types import completeness
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import Ending
from voice_daemon.session.pipeline import PipelineOptions

SECOND = 16_000


def word(text: str, probability: float = 0.9) -> DraftWord:
    return DraftWord(text=text, tokens=(1,), first_frame=0, frame=0, probability=probability)


@pytest.mark.parametrize("sign", [".", "?", "!", "。"])
def test_a_sentence_is_as_complete_as_the_sign_at_its_end_is_probable(sign: str) -> None:
    assert completeness([word(" on"), word(sign, 0.7)]) == 0.7


@pytest.mark.parametrize("last", [" on", ",", "...", " -"])
def test_a_text_without_a_sign_for_its_end_is_not_complete(last: str) -> None:
    assert completeness([word(" turn"), word(last)]) == 0.0


def test_nothing_is_not_complete() -> None:
    assert completeness([]) == 0.0


@pytest.mark.parametrize(("until_s", "complete"), [(2.1, False), (2.2, False), (None, True)])
def test_the_command_of_the_bundled_clip_is_complete_and_its_beginning_is_not(
    tiny: WhisperModel,
    command_speech: NDArray[np.float32],
    until_s: float | None,
    complete: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    transcriber = WhisperTranscriber(tiny)
    transcriber.start(wake_phrase="Hey Jarvis")
    end = None if until_s is None else round(until_s * SECOND)
    transcriber.feed(to_int16(command_speech[:end]))
    read = transcriber.finish()
    assert (PipelineOptions().ending(read) is not Ending.OPEN) == complete
