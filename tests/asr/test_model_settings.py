"""Alignment heads and suppressed tokens: from the model's own files, else published, else none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.whisper_files import SMALL, load_fault, small_tensors, write_mlx
from voice_daemon.asr.checkpoints.alignment_heads import published_heads
from voice_daemon.asr.checkpoints.load import ModelDimensions, load_weights


def generation_config(folder: Path, **settings: object) -> None:
    (folder / "generation_config.json").write_text(json.dumps(settings))


def test_generation_config_comes_before_config(tmp_path: Path) -> None:
    old = {"suppress_tokens": [5]}
    write_mlx(tmp_path, small_tensors(), SMALL, config=old)
    generation_config(tmp_path, alignment_heads=[[1, 1], [0, 1]], suppress_tokens=[3, 4, 99_999])
    data = load_weights(tmp_path)
    assert (data.alignment_heads, data.alignment_heads_from) == (((1, 1), (0, 1)), "model")
    assert data.suppress_tokens == (3, 4)


def test_heads_among_the_weights_are_taken(tmp_path: Path) -> None:
    heads = np.array([[1, 1], [0, 0]], np.int32)
    write_mlx(tmp_path, {**small_tensors(), "alignment_heads": heads}, SMALL)
    data = load_weights(tmp_path)
    assert (data.alignment_heads, data.alignment_heads_from) == (((1, 1), (0, 0)), "model")
    assert "alignment_heads" not in data.arrays


def test_all_heads_of_the_upper_layers_are_called_a_guess(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    generation_config(tmp_path, alignment_heads=[[1, 0], [1, 1]])
    data = load_weights(tmp_path)
    assert (data.alignment_heads, data.alignment_heads_from) == (((1, 0), (1, 1)), "guess")


def test_heads_of_a_deeper_model_are_not_used(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    generation_config(tmp_path, alignment_heads=[[7, 0], [10, 17]])
    data = load_weights(tmp_path)
    assert (data.alignment_heads, data.alignment_heads_from) == (((1, 0), (1, 1)), "guess")


@pytest.mark.parametrize(
    "settings",
    [
        {"alignment_heads": [1, 2]},
        {"alignment_heads": "all"},
        {"suppress_tokens": ["a"]},
        {"suppress_tokens": 7},
        {"suppress_tokens": [1.5]},
    ],
)
def test_unusable_settings_are_named(tmp_path: Path, settings: dict[str, object]) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    generation_config(tmp_path, **settings)
    assert next(iter(settings)) in load_fault(tmp_path).message


def test_empty_suppression_says_nothing(tmp_path: Path) -> None:
    write_mlx(tmp_path, small_tensors(), SMALL)
    generation_config(tmp_path, suppress_tokens=[])
    data = load_weights(tmp_path)
    assert data.suppress_tokens is None


@pytest.mark.parametrize(
    ("name", "sizes", "n_heads", "last"),
    [
        ("tiny.en", (51_864, 80, 4, 4, 384), 8, (3, 4)),
        ("tiny", (51_865, 80, 4, 4, 384), 6, (3, 5)),
        ("base.en", (51_864, 80, 6, 6, 512), 5, (5, 7)),
        ("base", (51_865, 80, 6, 6, 512), 8, (5, 6)),
        ("small.en", (51_864, 80, 12, 12, 768), 19, (11, 4)),
        ("small", (51_865, 80, 12, 12, 768), 10, (10, 5)),
        ("medium.en", (51_864, 80, 24, 24, 1024), 18, (21, 12)),
        ("medium", (51_865, 80, 24, 24, 1024), 6, (23, 4)),
        ("whisper-large-v1-mlx", (51_865, 80, 32, 32, 1280), 9, (23, 15)),
        ("large-v2", (51_865, 80, 32, 32, 1280), 23, (27, 15)),
        ("large-v3", (51_866, 128, 32, 32, 1280), 10, (25, 6)),
        ("turbo", (51_866, 128, 32, 4, 1280), 6, (3, 14)),
    ],
)
def test_published_heads_of_standard_sizes_fit_them(
    name: str, sizes: tuple[int, ...], n_heads: int, last: tuple[int, int]
) -> None:
    n_vocab, n_mels, n_audio, n_text, n_state = sizes
    n_head = n_state // 64
    dims = ModelDimensions(
        *(n_mels, 1500, n_state, n_head, n_audio), *(n_vocab, 448, n_state, n_head, n_text)
    )
    heads = published_heads(dims, name)
    assert (len(set(heads)), heads[-1]) == (n_heads, last)
    assert all(layer < n_text and head < n_head for layer, head in heads)


def test_distilled_sizes_have_no_published_heads() -> None:
    dims = ModelDimensions(128, 1500, 1280, 20, 32, 51_866, 448, 1280, 20, 2)
    assert published_heads(dims, "distil-large-v3") == ()
