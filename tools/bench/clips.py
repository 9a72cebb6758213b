"""The recordings of a folder, as its manifest.jsonl lists them.

A line is a JSON object: `audio` (a path in the folder), and optionally `text` (the transcript;
"" where nothing is said and nothing may be recognised), `slots` (words that must be understood,
by name) and `lang` (a Whisper language code). Knows nothing of recognisers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from voice_daemon.audio.file import load_audio
from voice_daemon.errors import AudioFileError
from voice_daemon.events import SAMPLE_RATE

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording."""

    path: Path
    folder: str
    text: str | None = None
    """What is said; "" for nothing at all, None where nobody wrote it down."""
    slots: Mapping[str, str] = field(default_factory=dict)
    language: str = "en"

    @property
    def name(self) -> str:
        """Short and telling: folder and file."""
        return f"{self.folder}/{self.path.name}"

    @property
    def is_speech(self) -> bool:
        """False where nothing may be recognised."""
        return self.text is None or bool(self.text.strip())

    def samples(self) -> NDArray[np.float32]:
        """(n,) float32 mono at 16 kHz."""
        return load_audio(self.path)


def load_clips(
    folder: Path, *, limit: int | None = None, longest_s: float | None = None
) -> tuple[Clip, ...]:
    """List a folder's clips up to `longest_s`, or `limit` of them spread evenly over the manifest.

    Raises AudioFileError for a folder without a usable manifest.
    """
    manifest = folder / MANIFEST
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
        clips = [_clip(json.loads(line), folder) for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AudioFileError(
            "bench.manifest",
            f"{manifest} cannot be used: {type(error).__name__}: {error}",
            remedy='write a line for each clip: {"audio": "a.wav", "text": "turn on the light"}',
        ) from error
    if longest_s is not None:
        clips = [clip for clip in clips if soundfile.info(clip.path).duration <= longest_s]
    if limit is None or limit >= len(clips):
        return tuple(clips)
    return tuple(clips[index * len(clips) // limit] for index in range(limit))


def _clip(entry: dict[str, Any], folder: Path) -> Clip:
    slots = {name: str(value) for name, value in entry.get("slots", {}).items()}
    return Clip(
        path=folder / entry["audio"],
        folder=folder.resolve().name,
        text=entry.get("text"),
        slots=slots,
        language=entry.get("lang", "en"),
    )


def joined_speech(clips: Sequence[Clip], *, seconds: float) -> NDArray[np.float32]:
    """The speech of some clips one after the other, cut at `seconds`.

    Raises AudioFileError when there is less.
    """
    wanted = round(seconds * SAMPLE_RATE)
    pieces: list[NDArray[np.float32]] = []
    for clip in clips:
        if clip.is_speech and sum(map(len, pieces)) < wanted:
            pieces.append(clip.samples())
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if len(samples) < wanted:
        raise AudioFileError(
            "bench.too_short",
            f"the clips hold {len(samples) / SAMPLE_RATE:.1f} s of speech, {seconds:g} are wanted",
            remedy="name another folder, or give a smaller --seconds",
        )
    return samples[:wanted]
