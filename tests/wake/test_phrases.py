"""A wake phrase: what speaks against it, what is near to it, and whether a reading holds it."""

import pytest

from voice_daemon.errors import UsageError
from voice_daemon.wake.own import shipped_negatives
from voice_daemon.wake.phrases import (
    clean_phrase,
    doubts,
    near_misses,
    similarity,
    syllables,
    wake_word_of_phrase,
)

COMMON = ("okay", "house", "light", "mouse", "horse", "computing", "commuter", "today", "lamp")


def test_a_phrase_is_written_as_it_is_spoken() -> None:
    assert clean_phrase("  Okay,  House! ") == "okay house"
    assert wake_word_of_phrase(clean_phrase("Let's go")) == "lets_go"
    for wrong in ("", "R2D2", "one two three four five six", "привет", "../etc"):
        with pytest.raises(UsageError, match="is not a phrase"):
            clean_phrase(wrong)


@pytest.mark.parametrize(
    ("phrase", "n"), [("alexa", 3), ("okay house", 3), ("jarvis", 2), ("hey table", 3), ("go", 1)]
)
def test_syllables_are_counted_by_the_spelling(phrase: str, n: int) -> None:
    assert syllables(phrase) == n


def test_short_and_common_phrases_are_doubted() -> None:
    assert doubts("alexandria", COMMON) == []
    (short,) = doubts("jarvis", COMMON)
    assert "short" in short
    (common,) = doubts("okay house", COMMON)
    assert '"okay" and "house" are words' in common


def test_near_misses_are_halves_and_neighbours_but_not_the_phrase_itself() -> None:
    near = near_misses("okay house", COMMON, most=40)
    assert {"okay", "house"} <= set(near)
    assert any(text.startswith("okay ") and text != "okay house" for text in near)
    assert all(similarity(text, "okay house") < 0.8 for text in near)
    assert near == near_misses("okay house", COMMON, most=40)
    assert len(near_misses("okay house", COMMON, most=3)) == 3


def test_near_misses_rhyme_and_are_as_many_as_are_asked_for() -> None:
    common = shipped_negatives().words
    near = near_misses("hey savant", common, most=72)
    assert len(near) == 72
    assert "hey want" in near
    assert "after" in near_misses("computer", common, most=72)
