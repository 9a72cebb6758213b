"""The wake word on recordings of people, noise and music: `VOICE_DAEMON_TEST_DATA`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import WakeDetection
from voice_daemon.wake.detector import WakeDetector, WakeGate


def recordings(folder: Path, *, label: str | None = None) -> Iterator[Path]:
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip(f"no {folder.name} among the recordings")
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        if label is None or row.get("label") == label:
            yield folder / row["audio"]


def detections(wake_word: str, recording: Path) -> list[WakeDetection]:
    gate = WakeGate(threshold=0.5, trigger_level=1, refractory_samples=32_000)
    detector = WakeDetector([wake_word], gate=gate, backend="onnx")
    a_second_of_silence = np.zeros(16_000, np.int16)
    return detector.feed(np.concatenate((to_int16(load_audio(recording)), a_second_of_silence)))


def test_people_who_say_it_are_heard(data_folder: Path) -> None:
    heard = [
        len(detections("alexa", recording))
        for recording in recordings(data_folder / "wake_picovoice", label="alexa")
    ]
    assert heard.count(1) >= 0.95 * len(heard)
    assert max(heard) == 1


@pytest.mark.parametrize("folder", ["noise", "music", "speech_untranscribed"])
def test_nothing_else_wakes_it(data_folder: Path, folder: str) -> None:
    woken = {
        recording.name: detections("hey_jarvis", recording)
        for recording in recordings(data_folder / folder)
    }
    assert woken
    assert {name: found for name, found in woken.items() if found} == {}
