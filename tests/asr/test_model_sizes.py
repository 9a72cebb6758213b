"""Every kind of Whisper loads and runs: whatever its layers, mels and vocabulary.

The weights are random and narrow, so the words mean nothing: what is asked is that the shapes
of each published kind go through loading, encoder, decoder, alignment and streaming.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from support.random_whispers import ENGLISH, KINDS, random_folder
from voice_daemon.asr import (
    DecodingOptions,
    DecodingTask,
    StreamingConfig,
    WhisperModel,
    generate_streaming,
    load_model,
)

SHAPES_OF_THEIR_OWN = (
    "tiny",
    "large-v3",
    "large-v3-turbo",
    "distil-small.en",
    "distil-large-v3",
)
"""The others differ from these in the number of equal layers only."""


@pytest.fixture(autouse=True)
def _free_memory() -> Iterator[None]:
    """Give back what a model took, up to 6 GB, before the next one is loaded."""
    yield
    gc.collect()
    mx.clear_cache()


def run(model: WhisperModel, name: str, speech: NDArray[np.float32]) -> None:
    """Decode offline, and stream in a language that it has."""
    english_only = KINDS[name].n_vocab == ENGLISH
    language = "en" if english_only else "fr"
    offline = DecodingTask(model, DecodingOptions(language=language, sample_len=8)).run(speech)
    assert offline.language == language
    assert len(offline.tokens) <= 8
    *partials, final = generate_streaming(model, speech, StreamingConfig(language=language))
    assert final.is_final
    assert final.language == language
    assert partials
    assert all(after.text.startswith(before.text) for before, after in pairwise(partials))
    assert model.tokenizer.is_multilingual is not english_only


@pytest.mark.parametrize("name", SHAPES_OF_THEIR_OWN)
def test_every_kind_of_whisper_loads_and_runs(
    tmp_path: Path, command_speech: NDArray[np.float32], name: str
) -> None:
    folder = random_folder(tmp_path, KINDS[name].dims(width=64))
    run(load_model(folder, dtype="float32"), name, command_speech[-24_000:])


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_size_loads_and_runs_at_its_real_width(
    tmp_path: Path, command_speech: NDArray[np.float32], name: str
) -> None:
    kind = KINDS[name]
    model = load_model(random_folder(tmp_path, kind.dims(width=kind.width)), dtype="float32")
    assert model.alignment_heads
    run(model, name, command_speech[-24_000:])
