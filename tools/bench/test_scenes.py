"""The scenes: what is put together for each, and how it is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.bench.clips import Clip
from tools.bench.latency import LEAD_S, TAIL_S, Reader, rms
from tools.bench.latency_match import Heard, Spoken
from tools.bench.scenes import GAP_S, LEVEL_DBFS, REPEATS, Take, digit_rows, row, scene, spread
from tools.bench.text import words_of
from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.models import resolve

SPOKEN = Spoken("w", "c", 150, 1.0, 2.0, 3.0, "Turn it on.")
HEARD = Heard(SPOKEN, wake_s=1.1, final_s=3.5, final="turn it on", n_finals=1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(resolve("tiny.en", models_dir=tmp_path_factory.mktemp("models")))


def take() -> Take:
    clip = load_audio(DEMO_CLIP)
    called, said = clip[int(0.66 * SAMPLE_RATE) : 24_900], clip[27_000:]
    return Take(Clip(DEMO_CLIP, "assets"), "lights", called, said, said)


@pytest.mark.parametrize(
    ("name", "n_calls", "more_s"), [("plain", 1, 0), ("again", 2, 0.6), ("corrected", 2, 1.25)]
)
def test_a_scene_lasts_as_long_as_what_is_said_in_it(
    reader: Reader, name: str, n_calls: int, more_s: float
) -> None:
    one = take()
    sound, (spoken,) = scene(name, [one], reader=reader)
    called_s, said_s = len(one.called) / SAMPLE_RATE, len(one.said) / SAMPLE_RATE
    assert spoken.speech_end_s == pytest.approx(
        LEAD_S + n_calls * called_s + GAP_S + more_s + said_s, abs=0.16
    )
    assert len(sound) / SAMPLE_RATE == pytest.approx(spoken.speech_end_s + TAIL_S, abs=1e-3)
    assert words_of(spoken.offline) == words_of("Turn on the kitchen lights.")


def test_a_faint_scene_is_as_faint_as_its_name(reader: Reader) -> None:
    levels = []
    for name in ("plain", "faint40"):
        sound, (spoken,) = scene(name, [take()], reader=reader)
        end = round(spoken.wake_end_s * SAMPLE_RATE)
        said = (sound[round(LEAD_S * SAMPLE_RATE) : end] / 32768).astype(np.float32)
        levels.append(20 * np.log10(rms(said)))
    assert levels == [pytest.approx(LEVEL_DBFS, abs=0.5), pytest.approx(-40, abs=0.5)]


def test_a_row_of_digits_is_one_speakers(tmp_path: Path) -> None:
    lines = []
    for digit, word in enumerate(("zero", "one", "two")):
        for who in ("anna", "ben"):
            file = tmp_path / f"{digit}_{who}_0.wav"
            soundfile.write(file, np.full(1600, 0.1 * (digit + 1), np.float32), SAMPLE_RATE)
            lines.append(json.dumps({"audio": file.name, "text": word}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    rows = digit_rows(tmp_path)
    assert [name for name, _ in rows[:3]] == ["anna: zero", "anna: one", "anna: two"]
    assert len(rows) == 6
    assert len(rows[0][1]) == (REPEATS + 2) * (1600 + round(0.12 * SAMPLE_RATE))
    assert [name for name, _ in spread(rows, 2)] == ["anna: zero", "ben: zero"]


@pytest.mark.parametrize(
    ("heard", "counts"),
    [
        (HEARD, ("0", "1", "0", "0", "0")),
        (replace(HEARD, wake_s=None, final_s=None, final=""), ("1", "0", "0", "0", "0")),
        (replace(HEARD, final="turn it off"), ("0", "0", "1", "0", "0")),
        (replace(HEARD, final_s=None, final="", n_finals=0), ("0", "0", "0", "1", "0")),
        (replace(HEARD, n_finals=2), ("0", "1", "0", "0", "1")),
    ],
)
def test_each_command_counts_once(heard: Heard, counts: tuple[str, ...]) -> None:
    assert row("plain", [heard]) == ("plain", "1", *counts)
