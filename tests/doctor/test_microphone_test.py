"""What a microphone's audio says about it: real voice detection over made-up faults."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.doctor.microphone_test import MicReport, MicrophoneTest, findings
from voice_daemon.endpoint.vad import SileroVad

RANDOM = np.random.default_rng(5)
SPEECH = load_audio(DEMO_CLIP)
HUM = RANDOM.standard_normal(len(SPEECH)).astype(np.float32) * np.float32(0.001)


def report(audio: np.ndarray, *, lost_samples: int = 0, block: int = 320) -> MicReport:
    trial = MicrophoneTest(SileroVad())
    samples = to_int16(audio.astype(np.float32))
    for first in range(0, len(samples), block):
        trial.feed(samples[first : first + block])
    return trial.report(lost_samples=lost_samples)


def codes(audio: np.ndarray, *, lost_samples: int = 0) -> list[str]:
    return [finding.code for finding in findings(report(audio, lost_samples=lost_samples))]


def test_good_audio_has_nothing_wrong() -> None:
    assert codes(SPEECH + HUM) == []


def test_speech_and_noise_are_told_apart() -> None:
    measured = report(SPEECH + HUM)
    assert measured.noise_dbfs == pytest.approx(-60, abs=2)
    assert measured.speech_dbfs is not None
    assert measured.speech_dbfs > -30
    assert measured.snr_db is not None
    assert measured.snr_db > 30


def test_ten_decibels_of_gain_are_ten_decibels() -> None:
    loud, soft = report(SPEECH / 2 + HUM), report((SPEECH / 2 + HUM) / 10**0.5)
    assert loud.level_dbfs - soft.level_dbfs == pytest.approx(10, abs=0.1)
    assert loud.peak_dbfs - soft.peak_dbfs == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (np.zeros(16_000), "mic.silent"),
        (np.zeros(0), "mic.no_audio"),
        (np.clip((SPEECH + HUM) * 40, -1, 1), "mic.clipping"),
        (SPEECH + HUM + 0.1, "mic.offset"),
        (HUM, "mic.no_speech"),
        ((SPEECH + HUM) * 0.02, "mic.quiet"),
        (SPEECH + 60 * HUM, "mic.noisy"),
    ],
)
def test_a_fault_is_named(audio: np.ndarray, code: str) -> None:
    assert code in codes(audio)


def test_digital_silence_is_a_matter_of_permission_and_of_nothing_else() -> None:
    (only,) = findings(report(np.zeros(32_000)))
    assert "Privacy & Security" in only.remedy


def test_lost_audio_is_named() -> None:
    assert codes(SPEECH + HUM, lost_samples=800) == ["mic.lost_audio"]


def test_faint_speech_comes_with_the_gain_that_mends_it() -> None:
    faint = (SPEECH + HUM) * 0.02
    (quiet,) = [f for f in findings(report(faint)) if f.code == "mic.quiet"]
    gain_db = float(quiet.remedy.rsplit("= ", 1)[1])
    assert codes(faint * 10 ** (gain_db / 20)) == []


@given(block=st.integers(1, 5000))
@settings(max_examples=25)  # each is a second of voice detection
def test_the_size_of_blocks_changes_nothing(block: int) -> None:
    audio = (SPEECH + HUM)[:16_000]
    by_block, whole = report(audio, block=block), report(audio, block=len(audio))
    assert by_block.level_dbfs == pytest.approx(whole.level_dbfs)
    assert by_block.noise_dbfs == pytest.approx(whole.noise_dbfs)
    assert by_block.peak_dbfs == whole.peak_dbfs
