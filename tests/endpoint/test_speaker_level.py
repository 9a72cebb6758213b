"""The speaker's voice and others behind it, by levels alone."""

from __future__ import annotations

from itertools import repeat

import pytest

from voice_daemon.endpoint.speaker_level import (
    COMMAND_MARGIN_DB,
    FADING_MS,
    RETURN_MARGIN_DB,
    Foreground,
    SpeakerLevel,
)

FRAME_MS = 32


def heard(*levels: tuple[float, float, float], voiced_before_ms: float = 0) -> list[Foreground]:
    """Hear stretches of (milliseconds, level in dBFS, voice probability)."""
    level = SpeakerLevel(voice_on=0.5, voice_off=0.35, frame_ms=FRAME_MS)
    level.heard_before(voiced_before_ms)
    frames = (
        frame for ms, dbfs, voice in levels for frame in repeat((dbfs, voice), round(ms / FRAME_MS))
    )
    return [level.feed(voice, 10 ** (dbfs / 10), waiting=False) for dbfs, voice in frames]


@pytest.mark.parametrize("fainter_db", [14, 17, 20, 30])
@pytest.mark.parametrize("speaker_dbfs", [-12, -30, -50])
def test_a_much_fainter_voice_is_behind_the_speaker(speaker_dbfs: float, fainter_db: float) -> None:
    found = heard((1000, speaker_dbfs, 0.9), (8000, speaker_dbfs - fainter_db, 0.9))
    assert found[0] is Foreground.SPEAKER
    assert set(found[-200:]) == {Foreground.BEHIND}


def test_a_soft_sound_inside_a_word_is_not_decided_yet() -> None:
    found = heard((1000, -20, 0.9), (FADING_MS - 64, -40, 0.9), (500, -22, 0.9))
    assert Foreground.BEHIND not in found
    assert found[-1] is Foreground.SPEAKER


def test_a_speaker_who_drops_his_voice_is_followed() -> None:
    falling = [(100.0, -20.0 - 0.4 * step, 0.9) for step in range(30)]
    assert Foreground.BEHIND not in heard((1000, -20, 0.9), *falling)


def test_a_command_is_spoken_more_softly_than_its_wake_word_is_called() -> None:
    level = SpeakerLevel(voice_on=0.5, voice_off=0.35, frame_ms=FRAME_MS)

    def hear(dbfs: float, *, waiting: bool) -> Foreground:
        return level.feed(0.9, 10 ** (dbfs / 10), waiting=waiting)

    for _ in range(20):
        hear(-17, waiting=True)
    for _ in range(4):
        hear(-30, waiting=True)
    level.begin()
    found = [hear(dbfs, waiting=False) for dbfs in [-28] * 10 + [-34] * 20]
    assert Foreground.BEHIND not in found


@pytest.mark.parametrize(("voiced_before_ms", "expected"), [(0, "SPEAKER"), (1000, "BEHIND")])
def test_who_spoke_before_the_wake_word_has_to_be_as_loud_as_the_speaker_to_be_him(
    voiced_before_ms: float, expected: str
) -> None:
    found = heard(
        (1000, -20, 0.9),
        (400, -70, 0.1),
        (500, (COMMAND_MARGIN_DB + RETURN_MARGIN_DB) / -2 - 20, 0.9),
        voiced_before_ms=voiced_before_ms,
    )
    assert found[-1] is Foreground[expected]


def test_a_speaker_goes_on_as_softly_as_he_likes_without_a_gap_before_others() -> None:
    found = heard((1000, -20, 0.9), (1000, -31, 0.9), voiced_before_ms=1000)
    assert set(found) == {Foreground.SPEAKER}


def test_a_click_does_not_set_the_level() -> None:
    found = heard((1000, -30, 0.9), (FRAME_MS, -14, 0.9), (1000, -30, 0.9))
    assert Foreground.BEHIND not in found


def test_no_voice_is_silence_at_any_level() -> None:
    assert set(heard((500, -10, 0.1))) == {Foreground.SILENCE}
    assert set(heard((500, -300, 0.9))) == {Foreground.SPEAKER}
