"""When steps of the recogniser fall due."""

from __future__ import annotations

import pytest

from voice_daemon.events import SAMPLE_RATE
from voice_daemon.session.session import EARLY_S, Pace

BLOCK = 320
START = 1000


def steps_s(
    pace: Pace, *, words_from_s: float, text_from_s: float = 0.0, until_s: float = 3.0
) -> list[float]:
    """Hear blocks of 20 ms and take every step; its seconds after the start of speech."""
    found = []
    for heard in range(START, START + round(until_s * SAMPLE_RATE), BLOCK):
        if pace.due(heard):
            after_s = (heard - START) / SAMPLE_RATE
            found.append(after_s)
            has_text = after_s >= (text_from_s or words_from_s)
            pace.passed(heard, has_draft=after_s >= words_from_s, has_text=has_text)
    return found


def started(step_s: float) -> Pace:
    pace = Pace(step_s)
    pace.start(START)
    return pace


def test_the_first_steps_come_early_and_the_others_every_step_s() -> None:
    found = steps_s(started(0.5), words_from_s=0.7)
    assert found == pytest.approx([0.14, 0.26, 0.38, 0.5, 0.64, 0.76, 1.26, 1.76, 2.26, 2.76])


def test_a_draft_is_followed_sooner_than_what_is_committed() -> None:
    found = steps_s(started(0.5), words_from_s=0.3, text_from_s=0.8, until_s=2.0)
    assert found == pytest.approx([0.14, 0.26, 0.38, 0.64, 0.88, 1.38, 1.88])


def test_short_steps_are_not_shortened() -> None:
    found = steps_s(started(0.1), words_from_s=1.0, until_s=1.0)
    assert found == pytest.approx([n / 10 for n in range(1, 10)], abs=0.021)


def test_long_steps_begin_early_too() -> None:
    found = steps_s(started(2.0), words_from_s=2 * EARLY_S)
    assert found == pytest.approx([0.14, 0.26, 2.26])


def test_steps_that_were_missed_are_passed_together() -> None:
    pace = started(0.5)
    pace.passed(START + round(0.26 * SAMPLE_RATE), has_draft=True, has_text=True)
    heard_to = START + round(1.8 * SAMPLE_RATE)
    assert pace.due(heard_to) == 3
    pace.passed(heard_to, has_draft=True, has_text=True)
    assert pace.due(heard_to) == 0
    assert pace.due(START + round(2.26 * SAMPLE_RATE)) == 1


def test_nothing_is_due_before_speech() -> None:
    assert started(0.5).due(START - SAMPLE_RATE) == 0
