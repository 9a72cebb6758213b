"""The session's voice input, with the real voice detector on the bundled recording."""

from __future__ import annotations

import numpy as np
import pytest

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.session.voice import MOST_GAIN_DB, VoiceInput, gain_for

WAKE_ENDS = 26_000
"""Sample of the recording at which its wake word is over."""


def voiced_share(*, softer_db: float, after_wake: bool = True) -> float:
    """Share of the frames of the command that count as voice."""
    samples = to_int16(load_audio(DEMO_CLIP) * np.float32(10 ** (-softer_db / 20)))
    voice = VoiceInput(SileroVad())
    list(voice.feed_history(samples[:WAKE_ENDS], after_wake=after_wake))
    found = [probability for probability, _ in voice.feed(samples[WAKE_ENDS:])]
    return float(np.mean(np.array(found) >= 0.5))


@pytest.mark.parametrize("softer_db", [36, 40, 44, 48])
def test_a_faint_voice_is_heard_as_a_loud_one_is(softer_db: float) -> None:
    assert voiced_share(softer_db=softer_db) >= voiced_share(softer_db=0) - 0.1


def test_without_a_wake_word_nothing_is_made_louder() -> None:
    assert voiced_share(softer_db=48, after_wake=False) < voiced_share(softer_db=48) - 0.1


@pytest.mark.parametrize(
    ("peak_dbfs", "gain_db"), [(-20, 0), (-54, 0), (-60, 32), (-90, MOST_GAIN_DB), (-np.inf, 0)]
)
def test_only_a_faint_wake_word_asks_for_gain(peak_dbfs: float, gain_db: float) -> None:
    assert gain_for(peak_dbfs) == gain_db


def test_a_hum_neither_hides_nor_raises_the_level_of_a_voice() -> None:
    samples = to_int16(load_audio(DEMO_CLIP) * np.float32(10 ** (-46 / 20)))
    hum = 200 * np.sin(2 * np.pi * 50 / 16_000 * np.arange(len(samples)))
    voice = VoiceInput(SileroVad())
    list(voice.feed_history((samples + hum).astype(np.int16)[:WAKE_ENDS], after_wake=True))
    assert voice.is_faint
