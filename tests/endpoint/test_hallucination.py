from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.endpoint.hallucination import HallucinationThresholds, VadStats, is_hallucination

SECOND = 16_000
THRESHOLDS = HallucinationThresholds()
CLEAR, UNCLEAR = VadStats().after(0.9, SECOND), VadStats().after(0.6, SECOND)


@dataclass(frozen=True)
class Said:
    """What a recogniser says of its text."""

    confidence: float = 0.9
    no_speech_prob: float = 0.1
    ended: bool = True


def test_mean_probability_is_the_mean_probability_over_the_voice() -> None:
    voice = VadStats().after(0.9, 300).after(0.5, 100)
    assert voice.voiced_samples == 400
    assert voice.mean_probability == pytest.approx(0.8)
    assert (voice + VadStats().after(0.0, 400)).mean_probability == pytest.approx(0.4)
    assert VadStats().mean_probability == 0


@pytest.mark.parametrize("voice", [CLEAR, UNCLEAR])
def test_a_text_without_a_doubt_is_hallucination(voice: VadStats) -> None:
    assert not is_hallucination("Stop.", Said(), stats=voice, thresholds=THRESHOLDS)


@pytest.mark.parametrize(
    "doubt", [Said(confidence=0.3), Said(no_speech_prob=0.7), Said(ended=False)]
)
def test_one_doubt_is_enough_unless_the_voice_is_clear(doubt: Said) -> None:
    assert not is_hallucination("Stop.", doubt, stats=CLEAR, thresholds=THRESHOLDS)
    assert is_hallucination("Stop.", doubt, stats=UNCLEAR, thresholds=THRESHOLDS)


def test_two_doubts_are_enough_for_any_voice() -> None:
    doubts = Said(confidence=0.3, no_speech_prob=0.7)
    assert is_hallucination("you", doubts, stats=CLEAR, thresholds=THRESHOLDS)


def test_where_the_voice_is_not_clear_the_words_must_be_likelier_than_not() -> None:
    said = Said(confidence=0.45)
    assert not is_hallucination("The man is so good.", said, stats=CLEAR, thresholds=THRESHOLDS)
    assert is_hallucination("The man is so good.", said, stats=UNCLEAR, thresholds=THRESHOLDS)


def test_nobody_speaks_faster_than_words_can_be_said() -> None:
    voice = replace(CLEAR, voiced_samples=SECOND // 2)
    assert not is_hallucination("one two three four", Said(), stats=voice, thresholds=THRESHOLDS)
    assert is_hallucination("one two three four five", Said(), stats=voice, thresholds=THRESHOLDS)


@given(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.floats(0, 1))
def test_blank_text_was_never_spoken_and_a_clearer_voice_never_hurts(
    confidence: float,
    no_speech: float,
    ended: bool,  # noqa: FBT001 - hypothesis gives it
    probability: float,
) -> None:
    said = Said(confidence, no_speech, ended)
    voice = VadStats().after(probability, SECOND)
    assert is_hallucination(" ", said, stats=voice, thresholds=THRESHOLDS)
    if not is_hallucination("Stop.", said, stats=voice, thresholds=THRESHOLDS):
        assert not is_hallucination("Stop.", said, stats=CLEAR, thresholds=THRESHOLDS)
