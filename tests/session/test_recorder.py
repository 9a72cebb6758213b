"""The sound of sessions on disk: only where it is wanted, private, and never for long."""

from __future__ import annotations

import os
import re
import stat
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from support.fakes import Scene
from voice_daemon.events import (
    SAMPLE_RATE,
    AudioBlock,
    EndReason,
    Event,
    SessionEnded,
    SessionStarted,
    State,
    StateChanged,
)
from voice_daemon.session import recorder as session_audio
from voice_daemon.session.recorder import MAX_AGE_S, SessionRecorder, prune

NOW_S = 1_800_000_000.0
BLOCK = 1280


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audio"


def ramp(n_samples: int) -> NDArray[np.int16]:
    """Sound of which every sample tells its place."""
    return (np.arange(n_samples) % 30_000).astype(np.int16)


def heard(folder: Path, samples: NDArray[np.int16]) -> SessionRecorder:
    recorder = SessionRecorder(folder)
    for first in range(0, len(samples), BLOCK):
        recorder.feed(AudioBlock(first, samples[first : first + BLOCK]))
    return recorder


def session(
    started: int, ended: int, *, name: str = "s1", reason: EndReason = EndReason.SILENCE
) -> list[Event]:
    return [
        SessionStarted(name, "hey_jarvis", started),
        SessionEnded(name, reason, 1, ended),
    ]


def test_a_session_is_kept_with_its_wake_word_and_for_its_owner_alone(folder: Path) -> None:
    samples = ramp(10 * SAMPLE_RATE)
    before = os.umask(0)
    try:
        recorder = heard(folder, samples)
        recorder.follow(session(5 * SAMPLE_RATE, 8 * SAMPLE_RATE))
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}Z-s1\.wav", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with wave.open(str(path), "rb") as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16_000, 1, 2)
        kept = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert np.array_equal(kept, samples[3 * SAMPLE_RATE : 8 * SAMPLE_RATE])


def test_muting_keeps_nothing_of_the_session_nor_of_what_was_before(folder: Path) -> None:
    recorder = heard(folder, ramp(10 * SAMPLE_RATE))
    recorder.follow(session(5 * SAMPLE_RATE, 8 * SAMPLE_RATE, reason=EndReason.MUTED))
    recorder.follow([StateChanged(State.MUTED)])
    assert not folder.exists()
    later = 20 * SAMPLE_RATE
    recorder.feed(AudioBlock(later, ramp(SAMPLE_RATE)))
    recorder.follow(session(later, later + SAMPLE_RATE, name="s2"))
    (path,) = folder.iterdir()
    with wave.open(str(path), "rb") as sound:
        assert sound.getnframes() == SAMPLE_RATE


def test_an_input_that_counts_anew_is_heard_anew(folder: Path) -> None:
    recorder = heard(folder, ramp(2 * SAMPLE_RATE))
    recorder.feed(AudioBlock(0, ramp(SAMPLE_RATE)))
    recorder.follow(session(0, SAMPLE_RATE))
    assert len(list(folder.iterdir())) == 1


def test_only_so_many_so_large_and_so_old_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_audio, "MAX_FILES", 4)
    folder.mkdir(parents=True)
    for number in range(8):
        path = folder / f"20270115T08000{number}Z-s{number}.wav"
        path.write_bytes(bytes(1000))
        os.utime(path, (NOW_S - 60 * number, NOW_S - 60 * number))
    (folder / "mine.wav").write_bytes(b"of the owner")

    def kept() -> list[str]:
        return sorted(path.name[-6:-4] for path in folder.iterdir())

    prune(folder, now_s=NOW_S)
    assert kept() == ["ne", "s0", "s1", "s2", "s3"]
    monkeypatch.setattr(session_audio, "MAX_BYTES", 3000)
    prune(folder, now_s=NOW_S)
    assert kept() == ["ne", "s0", "s1", "s2"]
    prune(folder, now_s=NOW_S + MAX_AGE_S - 90)
    assert kept() == ["ne", "s0", "s1"]
    prune(folder, now_s=NOW_S + 2 * MAX_AGE_S)
    assert kept() == ["ne"]


def test_a_folder_that_leads_elsewhere_is_not_written_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    recorder = heard(folder, ramp(2 * SAMPLE_RATE))
    with capture_logs() as logs:
        recorder.follow(session(0, SAMPLE_RATE))
    assert [entry["event"] for entry in logs] == ["audio.not_saved"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_disk_that_fails_costs_the_file_alone(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    recorder = heard(folder, Scene().silence(2000).samples)
    with capture_logs() as logs:
        recorder.follow(session(0, SAMPLE_RATE))
    assert [entry["event"] for entry in logs] == ["audio.not_saved"]
