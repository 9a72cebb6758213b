"""Which of its two readings a final gets: by what it costs and by the time there is."""

from __future__ import annotations

import math

import pytest

from voice_daemon.asr.final_cost import SPARE, FinalCost, is_in_time


@pytest.mark.parametrize(
    ("usual_s", "slowness", "in_time"),
    [(0.10, 1.0, True), (0.17, 1.0, False), (0.10, 1.7, False), (0.17, 0.5, True)],
)
def test_a_reading_needs_time_to_spare_on_the_machine_as_it_is(
    usual_s: float, slowness: float, *, in_time: bool
) -> None:
    assert is_in_time(usual_s, slowness=slowness, within_s=0.18) is in_time


def test_without_a_known_cost_only_an_endless_pause_is_long_enough() -> None:
    cost = FinalCost()
    assert not cost.allows_live(n_frames=1, within_s=10.0)
    assert cost.allows_live(n_frames=1500, within_s=math.inf)


def test_a_longer_command_needs_a_longer_pause() -> None:
    cost = FinalCost()
    cost.learn(0.1, n_frames=500, live=True)
    within_s = SPARE * 0.1
    assert cost.allows_live(n_frames=500, within_s=within_s)
    assert not cost.allows_live(n_frames=600, within_s=within_s)


def test_a_busy_machine_is_known_by_its_last_final_and_an_idle_one_by_several() -> None:
    cost = FinalCost()
    cost.learn(0.06, n_frames=200, live=False)
    cost.learn(0.1, n_frames=500, live=True)
    cost.took(0.12, n_frames=200, live=False)
    assert not cost.allows_live(n_frames=500, within_s=0.18)
    allowed = []
    for _ in range(12):
        cost.took(0.06, n_frames=200, live=False)
        allowed.append(cost.allows_live(n_frames=500, within_s=0.18))
    assert allowed == sorted(allowed)
    assert (allowed[0], allowed[-1]) == (False, True)


def test_a_lull_makes_nothing_faster_than_it_was_at_first() -> None:
    cost = FinalCost()
    cost.learn(0.1, n_frames=500, live=True)
    cost.took(0.01, n_frames=500, live=True)
    assert not cost.allows_live(n_frames=500, within_s=0.9 * SPARE * 0.1)
