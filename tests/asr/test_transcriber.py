"""The recogniser as sessions use it, with the bundled model and clip."""

from __future__ import annotations

import math
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
from voice_daemon.asr.final_cost import FinalCost
from voice_daemon.asr.incremental_encoder import SilenceCache
from voice_daemon.audio.resample import to_int16

COMMAND = "turn on the kitchen lights."


class SwallowingDecoder(StreamingDecoder):
    """Takes the command for a part of the wake phrase, as the model sometimes does."""

    def finish(self, *, within_s: float = 0.0) -> StreamingResult:
        return replace(super().finish(within_s=within_s), text="", words=(), completeness=0.0)


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


def test_the_warm_up_learns_what_finals_cost(tiny: WhisperModel, silence: SilenceCache) -> None:
    cost = FinalCost()
    decoder = StreamingDecoder(tiny, silence=silence, cost=cost)
    WhisperTranscriber(tiny, decoder=decoder).warm_up()
    assert cost.allows_live(n_frames=500, within_s=600)
    assert not cost.allows_live(n_frames=500, within_s=1e-4)


def test_a_final_beside_live_silence_leaves_the_utterance_as_it_was(
    tiny: WhisperModel, silence: SilenceCache, command_speech: NDArray[np.float32]
) -> None:
    decoder = StreamingDecoder(tiny, silence=silence)
    middle = len(command_speech) // 2
    decoder.feed(command_speech[:middle])
    committed = decoder.step()[-1].text
    assert decoder.finish(within_s=math.inf).is_final
    decoder.feed(command_speech[middle:])
    assert decoder.step()[-1].text.startswith(committed)
    final = decoder.finish(within_s=math.inf)
    assert final.text.lower().endswith(COMMAND)
