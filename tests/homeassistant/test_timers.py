"""Timers of Home Assistant's, and what becomes of them without it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from wyoming.event import Event
from wyoming.timer import TimerCancelled, TimerFinished, TimerStarted, TimerUpdated

from voice_daemon.events import ErrorRaised
from voice_daemon.homeassistant.timers import GRACE_S, LATE_S, MAX_TIMERS, Timers

SET = TimerStarted(id="tea", total_seconds=60).event()
PAUSED = TimerUpdated(id="tea", is_active=False, total_seconds=30).event()
RESUMED = TimerUpdated(id="tea", is_active=True, total_seconds=30).event()
LONGER = TimerUpdated(id="tea", is_active=True, total_seconds=120).event()
CANCELLED = TimerCancelled(id="tea").event()
FINISHED = TimerFinished(id="tea").event()


@dataclass
class Kitchen:
    """A satellite's timers, with a clock that a test sets and a daemon that it kills."""

    file: Path
    now_s: float = 1_800_000_000.0
    rings: int = 0
    reports: list[ErrorRaised] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kill()

    def kill(self) -> None:
        """Begin a new process."""
        self.timers = Timers(
            self.file, ring=self.ring, report=self.reports.append, clock_s=lambda: self.now_s
        )

    def ring(self) -> None:
        self.rings += 1

    def wait(self, seconds: float) -> int:
        """Let time pass, and give how often it has rung by then."""
        self.now_s += seconds
        self.timers.ring_overdue()
        return self.rings


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "timers.json")


@pytest.mark.parametrize("killed", [False, True])
def test_a_timer_rings_once_when_home_assistant_says_so(kitchen: Kitchen, *, killed: bool) -> None:
    kitchen.timers.take(SET)
    if killed:
        kitchen.kill()
    assert kitchen.wait(60) == 0
    kitchen.timers.take(FINISHED)
    assert kitchen.rings == 1
    assert kitchen.wait(100) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_a_timer_whose_end_nobody_tells_of_rings_once_by_itself(
    kitchen: Kitchen, *, killed: bool
) -> None:
    kitchen.timers.take(SET)
    if killed:
        kitchen.kill()
    assert kitchen.wait(60 + GRACE_S) == 1
    kitchen.timers.take(FINISHED)  # a network that was slow
    assert kitchen.wait(100) == 1


def test_a_timer_that_ended_long_ago_is_reported_instead(kitchen: Kitchen) -> None:
    kitchen.timers.take(SET)
    kitchen.kill()
    assert kitchen.wait(61 + LATE_S) == 0
    assert [report.code for report in kitchen.reports] == ["timer.missed"]
    kitchen.kill()
    kitchen.wait(1)
    assert len(kitchen.reports) == 1


def test_a_timer_follows_what_is_said_of_it(kitchen: Kitchen) -> None:
    kitchen.timers.take(SET)
    kitchen.timers.take(PAUSED)
    assert kitchen.wait(1000) == 0
    kitchen.timers.take(RESUMED)
    kitchen.timers.take(LONGER)
    assert kitchen.wait(40) == 0
    assert kitchen.wait(80 + GRACE_S) == 1
    kitchen.timers.take(SET)
    kitchen.timers.take(CANCELLED)
    assert kitchen.wait(1000) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"tea": "soon"}', b'{"tea": 1e999}', b"\xff"])
def test_a_file_that_is_none_of_ours_keeps_no_timer_from_ringing(
    kitchen: Kitchen, content: bytes
) -> None:
    kitchen.file.write_bytes(content)
    kitchen.kill()
    kitchen.timers.take(SET)
    assert kitchen.wait(60 + GRACE_S) == 1


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1e300, 1e300, "60", None])
def test_a_timer_of_an_impossible_length_is_none(kitchen: Kitchen, seconds: object) -> None:
    kitchen.timers.take(Event(SET.type, {**SET.data, "total_seconds": seconds}))
    kitchen.timers.take(TimerStarted(id="eggs", total_seconds=60).event())
    assert kitchen.wait(60 + GRACE_S) == 1
    kitchen.kill()
    assert kitchen.wait(LATE_S) == 1


@pytest.mark.parametrize("due", ["NaN", "-1e300", "1e300"])
def test_an_impossible_time_in_the_file_is_left_out(kitchen: Kitchen, due: str) -> None:
    kitchen.file.write_text(f'{{"tea": {due}, "eggs": {kitchen.now_s + 60}}}')
    kitchen.kill()
    assert kitchen.wait(60 + GRACE_S) == 1


def test_a_known_timer_may_change_however_many_there_are(kitchen: Kitchen) -> None:
    kitchen.timers.take(SET)
    for at in range(MAX_TIMERS):
        kitchen.timers.take(TimerStarted(id=f"{at}", total_seconds=10_000).event())
    kitchen.timers.take(LONGER)
    assert kitchen.wait(60 + GRACE_S) == 0
    assert kitchen.wait(60) == 1
