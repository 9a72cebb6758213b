"""The recogniser as sessions use it, with the bundled model and clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr import (
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    WhisperModel,
    WhisperTranscriber,
)
from voice_daemon.audio.resample import to_int16

COMMAND = "turn on the kitchen lights."


class SwallowingDecoder(StreamingDecoder):
    """Takes the command for a part of the wake phrase, as the model sometimes does."""

    def finish(self) -> StreamingResult:
        return replace(super().finish(), text="", words=(), completeness=0.0)


def swallowing(model: WhisperModel) -> WhisperTranscriber:
    config = StreamingConfig()
    return WhisperTranscriber(model, config, decoder=SwallowingDecoder(model, config))


def test_a_command_that_the_wake_phrase_takes_along_is_read_without_it(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    transcriber = swallowing(tiny)
    transcriber.start(wake_phrase="Hey Jarvis")
    for first in range(0, len(command_speech), 4000):
        transcriber.feed(to_int16(command_speech[first : first + 4000]))
    read = transcriber.finish()
    assert read.text.lower() == COMMAND
    assert " ".join(word.text for word in read.words) == read.text
    # Times count from the first sample, the wake phrase's.
    assert 1.2 < read.words[0].end_s < read.words[-1].end_s < len(command_speech) / 16_000
    assert read.completeness > 0.5


def test_a_wake_phrase_alone_has_no_text_either_way(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    transcriber = swallowing(tiny)
    transcriber.start(wake_phrase="Hey Jarvis")
    transcriber.feed(to_int16(command_speech[:20_000]))
    assert transcriber.finish().text == ""


def test_without_a_wake_phrase_nothing_is_read_twice(
    tiny: WhisperModel, command_speech: NDArray[np.float32]
) -> None:
    transcriber = swallowing(tiny)
    transcriber.start(wake_phrase="Hey Jarvis")
    transcriber.feed(to_int16(command_speech))
    transcriber.start(wake_phrase=None)
    transcriber.feed(to_int16(command_speech[20_000:]))
    assert transcriber.finish().text == ""
