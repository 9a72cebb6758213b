"""A quiet room costs no scores, and no wake word is missed for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.events import SAMPLE_RATE
from voice_daemon.wake.openwakeword import OpenWakeWord
from voice_daemon.wake.room import MARGIN_DB, OPEN_FRAMES, RoomNoise
from voice_daemon.wake.speech_embedding import MEL_STEP, N_MELS, WAKE_FRAME_SAMPLES

FRAMES_PER_S = SAMPLE_RATE / WAKE_FRAME_SAMPLES
WAKE_WORD_S = 1.56
"""Where "Hey Jarvis" ends in the bundled clip."""


def at_db(*levels: tuple[float, float]) -> list[bool]:
    """Hear stretches of (seconds, dB), a little unsteady; say when anything was louder."""
    room = RoomNoise()
    unsteady = np.random.default_rng(0)
    heard = []
    for seconds, db in levels:
        for _ in range(round(seconds * FRAMES_PER_S)):
            mels = db / 10 + unsteady.normal(0, 0.3, (MEL_STEP, N_MELS))
            heard.append(room.is_exceeded(mels.astype(np.float32)))
    return heard


def share(heard: Sequence[bool]) -> float:
    return sum(heard) / len(heard)


def test_a_steady_room_is_quiet_once_it_is_known() -> None:
    heard = at_db((60, -30))
    assert all(heard[:40])
    assert not any(heard[40 + OPEN_FRAMES :])


def test_a_sound_in_one_band_counts_for_a_while_after_it() -> None:
    room = RoomNoise()
    quiet = np.full((MEL_STEP, N_MELS), -3, np.float32)
    sound = quiet.copy()
    sound[:, 20:26] += (MARGIN_DB + 3) / 10
    assert not [room.is_exceeded(quiet) for _ in range(100)][-1]
    heard = [room.is_exceeded(mels) for mels in [sound] * 3 + [quiet] * 40]
    assert heard == [True] * (2 + OPEN_FRAMES) + [False] * (41 - OPEN_FRAMES)


def test_a_fan_that_starts_becomes_the_rooms_noise() -> None:
    heard = at_db((20, -40), (120, -20))
    started = round(20 * FRAMES_PER_S)
    assert all(heard[started : started + round(10 * FRAMES_PER_S)])
    assert not any(heard[-round(30 * FRAMES_PER_S) :])


def test_after_a_vacuum_cleaner_a_soft_voice_counts_again_within_two_seconds() -> None:
    heard = at_db((20, -60), (120, 0), (2, -60), (30, -60), (0.3, -52))
    assert not any(heard[-round(20 * FRAMES_PER_S) : -8])
    assert heard[-1]


def test_what_never_pauses_for_long_is_never_the_room() -> None:
    speech = [(0.4, -20.0), (0.2, -40.0)] * 200
    assert share(at_db((20, -40), *speech)[300:]) == 1


@pytest.mark.parametrize("level_db", [0, -20, -40])
@pytest.mark.parametrize("hiss", [3, 30])
def test_scores_are_those_of_all_audio(hiss: float, level_db: float) -> None:
    clip = load_audio(DEMO_CLIP) * np.float32(10 ** (level_db / 20))
    silence = np.zeros(20 * SAMPLE_RATE, np.float32)
    audio = np.concatenate((silence, clip, silence, clip[: round(WAKE_WORD_S * SAMPLE_RATE)]))
    noise = np.random.default_rng(0).normal(0, hiss / 32768, len(audio))
    frames = frames_of(to_int16((audio + noise).astype(np.float32)))
    whole, spared = (OpenWakeWord(["hey_jarvis"], spare_quiet=quiet) for quiet in (False, True))
    scores = np.array([[s.score(frame)["hey_jarvis"] for s in (whole, spared)] for frame in frames])
    closed = scores[:, 1] == 0
    assert 0.5 < closed.mean() < 0.95
    assert scores[closed, 0].max() < 0.005
    np.testing.assert_allclose(scores[~closed, 1], scores[~closed, 0], atol=1e-4)
    assert scores[:, 1].max() == pytest.approx(scores[:, 0].max(), abs=1e-4)


def frames_of(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    whole = len(audio) - len(audio) % WAKE_FRAME_SAMPLES
    return audio[:whole].reshape(-1, WAKE_FRAME_SAMPLES)
