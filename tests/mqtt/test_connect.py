"""The wait before the next attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.mqtt.connect import Backoff


def test_the_wait_grows_to_its_maximum_and_stays_there() -> None:
    backoff = Backoff(minimum_s=1, maximum_s=10, random_unit=lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [2, 4, 8, 10, 10, 10]


def test_full_jitter_reaches_down_to_the_minimum() -> None:
    backoff = Backoff(minimum_s=1, maximum_s=10, random_unit=lambda: 0.0)
    assert [backoff.next_s() for _ in range(4)] == [1, 1, 1, 1]


def test_a_connection_that_held_starts_it_anew() -> None:
    backoff = Backoff(minimum_s=1, maximum_s=60, random_unit=lambda: 1.0)
    for _ in range(5):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() == 2


def test_a_minimum_above_the_maximum_is_the_wait() -> None:
    backoff = Backoff(minimum_s=5, maximum_s=1, random_unit=lambda: 1.0)
    assert backoff.next_s() == 5


@given(
    minimum_s=st.floats(0.1, 60),
    maximum_s=st.floats(1, 3600),
    units=st.lists(st.floats(0, 1), min_size=1, max_size=2000),
)
def test_the_wait_stays_in_its_bounds(
    minimum_s: float, maximum_s: float, units: list[float]
) -> None:
    draw = iter(units)
    backoff = Backoff(minimum_s=minimum_s, maximum_s=maximum_s, random_unit=lambda: next(draw))
    for _ in units:
        assert minimum_s <= backoff.next_s() <= max(minimum_s, maximum_s) * (1 + 1e-9)
