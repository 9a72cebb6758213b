"""Whispers of every published shape with random weights: their words mean nothing.

Written in transformers' layout, with a vocabulary of the right size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from support.whisper_files import tiny_en_folder, write_transformers
from voice_daemon.asr.checkpoints.validate import ModelDimensions, expected_shapes

ENGLISH, MULTILINGUAL, CANTONESE = 51_864, 51_865, 51_866
N_ENGLISH_WORDS = 50_256


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells a published model's shape from the others."""

    n_vocab: int
    n_mels: int
    n_audio_layer: int
    n_text_layer: int
    width: int

    def dims(self, *, width: int) -> ModelDimensions:
        n_head = width // 64
        return ModelDimensions(
            n_mels=self.n_mels,
            n_audio_ctx=1500,
            n_audio_state=width,
            n_audio_head=n_head,
            n_audio_layer=self.n_audio_layer,
            n_vocab=self.n_vocab,
            n_text_ctx=448,
            n_text_state=width,
            n_text_head=n_head,
            n_text_layer=self.n_text_layer,
        )


KINDS = {
    "tiny": Kind(MULTILINGUAL, 80, 4, 4, 384),
    "base.en": Kind(ENGLISH, 80, 6, 6, 512),
    "small": Kind(MULTILINGUAL, 80, 12, 12, 768),
    "medium": Kind(MULTILINGUAL, 80, 24, 24, 1024),
    "large-v2": Kind(MULTILINGUAL, 80, 32, 32, 1280),
    "large-v3": Kind(CANTONESE, 128, 32, 32, 1280),
    "large-v3-turbo": Kind(CANTONESE, 128, 32, 4, 1280),
    "distil-small.en": Kind(ENGLISH, 80, 12, 4, 768),
    "distil-large-v3": Kind(CANTONESE, 128, 32, 2, 1280),
}


def random_folder(folder: Path, dims: ModelDimensions) -> Path:
    """Random weights in transformers' layout, with a vocabulary of the right size."""
    random = np.random.default_rng(7)
    tensors = {
        name: (
            np.ones(shape, np.float16)
            if name.endswith(("ln.weight", "ln_post.weight"))
            else (0.02 * random.standard_normal(shape, np.float32)).astype(np.float16)
        )
        for name, shape in expected_shapes(dims).items()
    }
    write_transformers(folder, tensors, dims)
    (folder / "vocabulary.txt").unlink()
    document = json.loads((tiny_en_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {name: at for name, at in document["model"]["vocab"].items() if at < N_ENGLISH_WORDS}
    if dims.n_vocab > ENGLISH:
        ids["a word that only multilingual models have"] = N_ENGLISH_WORDS
    (folder / "vocab.json").write_text(json.dumps(ids))
    return folder
