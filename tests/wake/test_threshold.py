"""Thresholds tried on scores, made up and real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.cli.wake_test import trial_lines
from voice_daemon.wake.detector import OpenWakeWord
from voice_daemon.wake.threshold import (
    THRESHOLDS,
    GateRules,
    Scored,
    ThresholdSweep,
    events_at_most,
    score_recording,
    share_at_most,
    suggest,
    try_thresholds,
)

CLIP = to_int16(load_audio(DEMO_CLIP))
RULES = GateRules()
HOUR_S = 3600.0

peaks = st.lists(st.floats(0, 1), max_size=8)


def recording(*scores: float, seconds: float = 2.0) -> Scored:
    frames = tuple({"word": score} for score in (0.0, *scores, 0.0))
    return Scored("made up", seconds, frames)


def trial(
    said: Sequence[float], other: Sequence[float] = (), *, hours: float = 1.0
) -> ThresholdSweep:
    others = [recording(peak, seconds=hours * HOUR_S / len(other)) for peak in other]
    return try_thresholds([recording(peak) for peak in said], others, RULES)


def test_a_threshold_misses_what_stays_below_it_and_accepts_the_rest() -> None:
    at = trial([0.3, 0.6, 0.9], [0.1, 0.55]).at(0.5)
    assert (at.misses, at.false_accepts) == (1, 1)


def test_the_gates_other_rules_hold() -> None:
    twice = recording(0.9, 0.1, 0.9)
    assert try_thresholds([], [twice], RULES).at(0.5).false_accepts == 1
    restless = GateRules(refractory_samples=0)
    assert try_thresholds([], [twice], restless).at(0.5).false_accepts == 2
    assert try_thresholds([twice], [], GateRules(trigger_level=2)).at(0.5).misses == 1


@given(said=peaks, other=peaks)
def test_a_higher_threshold_never_misses_less_nor_accepts_more(
    said: list[float], other: list[float]
) -> None:
    points = trial(said, other).points
    assert [p.misses for p in points] == sorted(p.misses for p in points)
    accepts = [p.false_accepts for p in points]
    assert accepts == sorted(accepts, reverse=True)


@given(said=peaks.filter(bool), other=peaks, now=st.sampled_from(THRESHOLDS))
def test_the_suggestion_is_no_worse_than_what_is_in_force(
    said: list[float], other: list[float], now: float
) -> None:
    tried = trial(said, other, hours=10)
    suggested = suggest(tried, now=now)
    assert suggested is not None
    in_force = tried.at(now)
    assert suggested.misses <= in_force.misses or suggested.false_accepts < in_force.false_accepts


def test_what_is_in_force_is_kept_where_nothing_is_better() -> None:
    suggested = suggest(trial([0.8, 0.9], [0.2], hours=10), now=0.5)
    assert suggested is not None
    assert suggested.threshold == 0.5


def test_otherwise_the_middle_between_speech_and_noise_is_taken() -> None:
    suggested = suggest(trial([0.4, 0.9], [0.1], hours=1), now=0.5)
    assert suggested is not None
    assert 0.15 < suggested.threshold < 0.4


def test_without_other_speech_the_threshold_never_rises() -> None:
    suggested = suggest(trial([0.9, 0.9]), now=0.3)
    assert suggested is not None
    assert suggested.threshold == 0.3


def test_without_the_wake_word_there_is_no_suggestion() -> None:
    assert suggest(trial([], [0.9]), now=0.5) is None


def test_little_audio_is_said_to_prove_little() -> None:
    tried = trial([0.9], [0.1], hours=0.1)
    told = "\n".join(trial_lines(tried, word="word", now=0.5, suggested=suggest(tried, now=0.5)))
    assert "0 false accepts in 0.1 h: at most 30 an hour" in told
    assert "0 of 1 missed: at most 95%" in told


def test_the_bounds_are_those_of_the_tables() -> None:
    # Poisson: 2.996, 4.744 and 15.705 behind 0, 1 and 9; Clopper and Pearson: 0.259 behind 0 of 10.
    assert [round(events_at_most(n), 3) for n in (0, 1, 9)] == [2.996, 4.744, 15.705]
    assert round(share_at_most(0, 10), 3) == 0.259
    assert share_at_most(3, 3) == 1


def test_a_recording_scores_the_same_in_pieces_of_any_size() -> None:
    scorer = OpenWakeWord(["hey_jarvis"])
    whole = score_recording("whole", [CLIP], scorer)
    pieces = score_recording("pieces", np.array_split(CLIP, 17), scorer)
    assert whole.scores == pieces.scores
    assert whole.best()[1] > 0.9
    assert whole.seconds == pytest.approx(len(CLIP) / 16_000)


def test_a_wake_word_at_the_very_end_is_still_scored() -> None:
    scorer = OpenWakeWord(["hey_jarvis"])
    ends = score_recording("ends", [CLIP[: round(1.5 * 16_000)]], scorer)
    assert ends.best()[1] > 0.5
