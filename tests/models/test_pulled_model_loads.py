"""A model as mlx-community publishes it, pulled and completed, is one that the recogniser reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from rigs import fake_hub
from voice_daemon.asr.checkpoints.load import load_weights
from voice_daemon.models import resolve, store
from voice_daemon.models.progress import LineProgress
from voice_daemon.models.pull import pull


@pytest.fixture
def published(tmp_path: Path) -> Iterator[fake_hub.FakeHub]:
    """The bundled model's real weights, split over two repositories as on the hub."""
    bundled = store.bundled_folder()
    assert bundled is not None
    checkpoint = load_weights(bundled)
    arrays = {name: np.array(array) for name, array in checkpoint.arrays.items()}
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **arrays)
    heads = json.dumps({"alignment_heads": checkpoint.alignment_heads})
    repos = {
        "mlx-community/whisper-tiny.en-mlx": {
            "config.json": json.dumps(asdict(checkpoint.dims)).encode(),
            "weights.npz": (tmp_path / "weights.npz").read_bytes(),
        },
        "openai/whisper-tiny.en": {
            "generation_config.json": heads.encode(),
            "tokenizer.json": (bundled / "tokenizer.json").read_bytes(),
        },
    }
    with fake_hub.FakeHub(repos) as hub:
        yield hub


def test_a_pulled_tiny_en_reads_like_the_bundled_one(
    published: fake_hub.FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = load_weights(resolve("tiny.en", models_dir=tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(store, "BUNDLED_PACKAGE", "voice_daemon_no_such_package")
    with (tmp_path / "progress.txt").open("w") as lines:
        pull(
            "tiny.en",
            models_dir=tmp_path,
            progress=LineProgress(lines),
            endpoint=published.endpoint,
        )
    huggingface_hub.close_session()
    pulled = load_weights(resolve("tiny.en", models_dir=tmp_path))
    assert pulled.layout == "mlx"
    assert pulled.dims == bundled.dims
    assert pulled.arrays.keys() == bundled.arrays.keys()
    assert pulled.alignment_heads == bundled.alignment_heads
    assert replace(pulled.vocabulary, source=bundled.vocabulary.source) == bundled.vocabulary
    shown = (tmp_path / "progress.txt").read_text().splitlines()
    assert [line.split()[0] for line in shown[1:]] == [f"{n}" for n in range(0, 101, 10)]
