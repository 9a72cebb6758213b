"""Recordings of real people, where `VOICE_DAEMON_TEST_DATA` names a folder of them.

The folder holds folders, each with sound files and a `manifest.jsonl` whose lines have `audio`
(the file) and `text` (what is said; "" when nothing is).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from voice_daemon.asr import WhisperTranscriber, load_model
from voice_daemon.audio.file import load_audio
from voice_daemon.models import resolve

CLIPS = 6
STEP_SAMPLES = 8000
WORD_ERROR_RATE = 0.35
"""tiny.en on the commands of strangers; a broken recogniser is far above."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and what is said in it."""

    audio: Path
    text: str


def clips(folder: Path) -> Iterator[Clip]:
    """Give the English recordings of one folder with a text, in the manifest's order."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip(f"{manifest} is not there")
    for line in manifest.read_text().splitlines():
        entry = json.loads(line)
        if entry.get("text") and entry.get("lang", "en").startswith("en"):
            yield Clip(folder / entry["audio"], entry["text"])


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def edits(spoken: list[str], read: list[str]) -> int:
    """Count the words to change, add or leave out to get from one to the other."""
    row = list(range(len(read) + 1))
    for i, word in enumerate(spoken, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(read, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1]


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> WhisperTranscriber:
    made = WhisperTranscriber(
        load_model(resolve("tiny.en", models_dir=tmp_path_factory.mktemp("m")))
    )
    made.warm_up()
    return made


@pytest.mark.parametrize("name", ["home_rhasspy", "home_misc", "read_librispeech"])
def test_recordings_of_people_are_transcribed(
    name: str, data_folder: Path, transcriber: WhisperTranscriber
) -> None:
    n_words = n_edits = 0
    for clip in islice(clips(data_folder / name), CLIPS):
        samples = (load_audio(clip.audio) * 32767).astype(np.int16)
        transcriber.start(wake_phrase=None)
        committed = ""
        for at in range(0, len(samples), STEP_SAMPLES):
            transcriber.feed(samples[at : at + STEP_SAMPLES])
            text = transcriber.step().text
            assert text.startswith(committed), "committed text was taken back"
            committed = text
        read = transcriber.finish().text
        transcriber.reset()
        n_words += len(words(clip.text))
        n_edits += edits(words(clip.text), words(read))
    assert n_words > CLIPS
    assert n_edits / n_words < WORD_ERROR_RATE
