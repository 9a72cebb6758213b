"""A gate for the recogniser's quality and cost: by words and by ratios within one run.

Times of a machine are nobody's promise, so nothing here compares with a clock's reading; the
full figures are the benchmark's (docs/benchmark.md).
"""

from __future__ import annotations

import time
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from tools.bench.text import words_of
from voice_daemon.asr import (
    DecodingTask,
    StreamingConfig,
    StreamingDecoder,
    StreamingResult,
    WhisperModel,
)
from voice_daemon.events import SAMPLE_RATE

Samples = NDArray[np.float32]

STEP_SHARE = 0.25
"""A step may compute this much of what one offline decode of the clip does. Measured: 0.05 with
one thread, up to 0.13 with two on a machine that had more to do (they wait by computing)."""
REPEATS = 2
"""The least of several times is what the work takes; the rest is the machine's other work."""


def streamed(
    decoder: StreamingDecoder, speech: Samples, *, step_s: float
) -> tuple[list[StreamingResult], list[float], StreamingResult]:
    """Every step's result and processor time, and the final."""
    decoder.reset()
    size = round(step_s * SAMPLE_RATE)
    results, computed_s = [], []
    for first in range(0, len(speech) - size + 1, size):
        begun_s = time.process_time()
        decoder.feed(speech[first : first + size])
        results += decoder.step()
        computed_s.append(time.process_time() - begun_s)
    return results, computed_s, decoder.finish()


@pytest.fixture(scope="module")
def pausing_speech(command_speech: Samples) -> Samples:
    """The bundled clip and enough silence for the last word to be committed."""
    return np.concatenate((command_speech, np.zeros(2 * SAMPLE_RATE, np.float32)))


@pytest.fixture(scope="module")
def offline_words(tiny: WhisperModel, pausing_speech: Samples) -> tuple[str, ...]:
    return words_of(DecodingTask(tiny).run(pausing_speech).text)


@pytest.mark.parametrize("step_s", [0.5, pytest.param(0.25, marks=pytest.mark.slow)])
def test_streaming_commits_the_words_of_the_offline_decode(
    tiny: WhisperModel, pausing_speech: Samples, offline_words: tuple[str, ...], step_s: float
) -> None:
    decoder = StreamingDecoder(tiny, StreamingConfig(min_chunk_duration=step_s))
    results, _, final = streamed(decoder, pausing_speech, step_s=step_s)
    committed = [result.text for result in results]
    assert all(after.startswith(before) for before, after in pairwise(committed))
    assert words_of(committed[-1]) == offline_words
    assert words_of(final.text) == offline_words
    assert not final.revised


@pytest.mark.slow  # several whole decodes, to compare their cost
@pytest.mark.skipif(
    mx.default_device() == mx.Device(mx.gpu),
    reason="processor time does not count a GPU's, and tiny.en is too small for one",
)
def test_a_step_costs_a_fraction_of_an_offline_decode(
    tiny: WhisperModel, command_speech: Samples
) -> None:
    decoder = StreamingDecoder(tiny, StreamingConfig(min_chunk_duration=0.5))
    streamed(decoder, command_speech, step_s=0.5)  # warms up
    steps, offline_s = [], []
    for _ in range(REPEATS):
        begun_s = time.process_time()
        DecodingTask(tiny).run(command_speech)
        offline_s.append(time.process_time() - begun_s)
        steps.append(streamed(decoder, command_speech, step_s=0.5)[1])
    step_s = float(np.mean(np.min(steps, axis=0)))
    assert step_s < STEP_SHARE * min(offline_s)
