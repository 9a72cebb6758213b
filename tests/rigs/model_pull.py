"""Pulling a small model from a hub on loopback, for tests: what is there, and what is noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from rigs import fake_hub
from voice_daemon.errors import ModelError
from voice_daemon.models import list_models
from voice_daemon.models.pull import PullResult, pull

REPO = "mlx-community/whisper-base.en-mlx"
COMPANION = "openai/whisper-base.en"
WEIGHTS = "weights.npz"

CONFIG = {
    "n_mels": 80,
    "n_audio_state": 512,
    "n_audio_layer": 6,
    "n_text_layer": 6,
    "n_vocab": 51_864,
    "model_type": "whisper",
}
REPOS = {
    REPO: {
        ".gitattributes": b"*.npz lfs",
        "README.md": b"# whisper",
        "config.json": json.dumps(CONFIG).encode(),
        WEIGHTS: bytes(range(256)) * 400,
    },
    COMPANION: {
        "config.json": b"{}",
        "generation_config.json": b'{"alignment_heads": [[3, 1]]}',
        "model.safetensors": b"the same weights, not wanted twice",
        "pytorch_model.bin": b"\x80\x02pickle",
        "tokenizer.json": b'{"model": {}}',
        "vocab.json": b'{"!": 0}',
    },
}
INSTALLED = {"config.json", "generation_config.json", "tokenizer.json", "vocab.json", WEIGHTS}


class Note(NamedTuple):
    file: str
    n_bytes: int


class Notes:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.notes: list[Note] = []
        self.ended = False

    def begin(self, name: str, total_bytes: int) -> None:  # noqa: ARG002 - the Protocol's name
        self.totals.append(total_bytes)

    def at(self, file: str, n_bytes: int) -> None:
        self.notes.append(Note(file, n_bytes))

    def end(self) -> None:
        self.ended = True


class PullRig:
    """A hub, a models folder, and a pull from one into the other."""

    def __init__(self, hub: fake_hub.FakeHub, models_dir: Path) -> None:
        self.hub = hub
        self.models_dir = models_dir
        self.notes = Notes()
        self.pauses_s: list[float] = []

    def pull(self, name: str = REPO, *, force: bool = False) -> PullResult:
        self.notes = Notes()
        return pull(
            name,
            models_dir=self.models_dir,
            progress=self.notes,
            force=force,
            endpoint=self.hub.endpoint,
            pause=self.pauses_s.append,
        )

    @property
    def partial(self) -> Path:
        return self.models_dir / ".partial" / "mlx-community--whisper-base.en-mlx"

    def part_bytes(self) -> int:
        (part,) = self.partial.glob(f"{WEIGHTS}.*.part")
        return part.stat().st_size


def refused(rig: PullRig, code: str, *, force: bool = False, name: str = REPO) -> ModelError:
    """Pull, expect this error, and see that nothing was installed."""
    before = list_models(models_dir=rig.models_dir)
    with pytest.raises(ModelError) as raised:
        rig.pull(name, force=force)
    assert raised.value.code == code
    assert raised.value.remedy
    assert "\n" not in raised.value.message
    assert list_models(models_dir=rig.models_dir) == before
    assert rig.notes.ended or not rig.notes.totals
    return raised.value
