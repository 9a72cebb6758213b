"""Spellings of names, learnt from what a recogniser writes when they are spoken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from voice_daemon.vocabulary.document import VocabularyError
from voice_daemon.vocabulary.spelling import speak, spellings_of, voices


def learnt(
    clip: Path, *readings: str, taken: frozenset[tuple[str, ...]] = frozenset()
) -> list[str]:
    """`readings`: what is read, one after another, of whatever is spoken."""
    waiting = list(readings)

    def read(samples: NDArray[np.float32]) -> str:
        assert len(samples) > 16_000
        return waiting.pop(0) if waiting else ""

    found = spellings_of(
        "Plantuary",
        read,
        language="en",
        speakers=[("cp", str(clip), "{file}")] * 3,
        taken=taken,
    )
    return list(found)


def test_the_part_where_the_name_was_is_its_spelling_and_the_commonest_goes_first(
    demo_clip: Path,
) -> None:
    assert learnt(
        demo_clip,
        "Turn on the plan to Harry.",
        "Is the plant you area on?",
        "Set the plant you area to 50%.",
    ) == ["plant you area", "plan to Harry"]


def test_what_begins_otherwise_or_sounds_otherwise_teaches_nothing(demo_clip: Path) -> None:
    assert learnt(demo_clip, "Thank you.", "Is the dog on?", "Turn the", "") == []


def test_what_is_written_as_it_should_be_needs_no_spelling(demo_clip: Path) -> None:
    assert learnt(demo_clip, "Turn on the plantuary.") == []


def test_no_name_takes_the_name_of_another(demo_clip: Path) -> None:
    taken = frozenset({("plant", "area")})
    assert learnt(demo_clip, "Turn on the Plant Area.", taken=taken) == []


def test_a_synthesiser_that_does_not_speak_has_a_remedy() -> None:
    with pytest.raises(VocabularyError, match="cannot speak") as caught:
        speak("hello", ("false",))
    assert caught.value.remedy


def test_languages_have_voices_or_none() -> None:
    assert all("{file}" in " ".join(voice) for voice in voices("en"))
    assert all("flite" not in voice for voice in voices("de"))
