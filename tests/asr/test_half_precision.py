"""The path of a GPU, taken on the CPU: streaming in float16, every choice on the device.

`default_dtype` is all that a GPU adds: with dtype = "float16" a CPU runs the same lines.
"""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from support.tiny_model import silence_as
from voice_daemon.asr import StreamingDecoder, WhisperModel, load_model
from voice_daemon.asr.incremental_encoder import SilenceCache
from voice_daemon.asr.sampler import MlxSampler, Sampled, token_sampler

STEP_SAMPLES = 16_000


def streamed(
    decoder: StreamingDecoder, speech: NDArray[np.float32]
) -> tuple[list[str], str, float]:
    """Give the committed text and draft after each step, the final, and its confidence."""
    partials = []
    for first in range(0, len(speech), STEP_SAMPLES):
        decoder.feed(speech[first : first + STEP_SAMPLES])
        partials += [f"{result.text}|{result.draft}" for result in decoder.step()]
    final = decoder.finish()
    return partials, final.text, final.confidence


def test_streaming_in_float16_reads_what_float32_reads_with_one_synchronisation_a_choice(
    tiny: WhisperModel,
    tiny_folder: Path,
    silence: SilenceCache,
    command_speech: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = load_model(tiny_folder, dtype="float16")
    assert isinstance(token_sampler(half), MlxSampler)
    partials, text, confidence = streamed(StreamingDecoder(tiny), command_speech)
    decoder = StreamingDecoder(half, silence=silence_as(half, silence))
    waits, choices, tokens = [0], [0], [0]
    evaluate, sample = mx.eval, MlxSampler.sample

    def counted_eval(*arrays: mx.array) -> None:
        waits[0] += 1
        evaluate(*arrays)

    def counted_sample(self: MlxSampler, *args: object, **options: object) -> Sampled:
        sampled: Sampled = sample(self, *args, **options)  # type: ignore[arg-type]
        choices[0] += 1
        tokens[0] += len(sampled.tokens)
        return sampled

    with monkeypatch.context() as patch:
        patch.setattr(MlxSampler, "sample", counted_sample)
        patch.setattr(mx, "eval", counted_eval)
        read = streamed(decoder, command_speech)
    assert read[:2] == (partials, text)
    assert read[2] == pytest.approx(confidence, abs=0.01)
    assert 0 < waits[0] <= choices[0] <= tokens[0]
