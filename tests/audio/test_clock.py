"""The live clock, with arrivals and a time that the test makes up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.manual_clock import ManualClock
from voice_daemon.audio.clock import LiveClock
from voice_daemon.events import SAMPLE_RATE

BLOCK_S = 0.02
BLOCK_SAMPLES = 320


def deliver(
    clock: LiveClock, *, begins_s: float, delays_s: list[float], first_sample: int = 0
) -> None:
    """Let blocks of 20 ms arrive, each so much later than it was recorded."""
    for number, delay_s in enumerate(delays_s, start=1):
        clock.observe(
            first_sample + number * BLOCK_SAMPLES,
            arrived_at_s=begins_s + number * BLOCK_S + delay_s,
        )


def test_nothing_has_been_delivered_before_the_first_block() -> None:
    assert LiveClock(ManualClock()).now_sample() == 0


def test_it_goes_on_between_blocks() -> None:
    time = ManualClock()
    clock = LiveClock(time)
    clock.observe(320, arrived_at_s=time.now_s)
    time.now_s += 0.5
    assert clock.now_sample() == 320 + SAMPLE_RATE // 2


@given(delays_s=st.lists(st.floats(0, 1), min_size=1, max_size=200), prompt_at=st.integers(0))
def test_late_arrivals_do_not_set_it_back(delays_s: list[float], prompt_at: int) -> None:
    delays_s[prompt_at % len(delays_s)] = 0.0
    time = ManualClock()
    clock = LiveClock(time)
    deliver(clock, begins_s=1000, delays_s=delays_s)
    time.now_s = 1000 + len(delays_s) * BLOCK_S + 1
    assert abs(clock.now_sample() - len(delays_s) * BLOCK_SAMPLES - SAMPLE_RATE) <= 1


def test_a_burst_after_a_stall_sets_it_to_the_newest_sample() -> None:
    time = ManualClock()
    clock = LiveClock(time)
    deliver(clock, begins_s=1000, delays_s=[0.0] * 50)
    backlog = [max(0.0, 4.0 - number * BLOCK_S) for number in range(200)]
    deliver(clock, begins_s=1001, delays_s=backlog, first_sample=50 * BLOCK_SAMPLES)
    time.now_s = 1005
    assert abs(clock.now_sample() - 250 * BLOCK_SAMPLES) <= 1


def test_it_follows_a_device_whose_clock_is_slow() -> None:
    time = ManualClock()
    clock = LiveClock(time)
    minutes, slow_by = 60, 1e-4
    delivered = 0
    for number in range(1, minutes * 60 + 1):
        delivered = round(number * SAMPLE_RATE * (1 - slow_by))
        clock.observe(delivered, arrived_at_s=1000.0 + number)
    time.now_s = 1000.0 + minutes * 60
    # Within what a slow clock loses in the remembered seconds: about a millisecond.
    assert 0 <= clock.now_sample() - delivered < SAMPLE_RATE // 1000


def test_it_forgets_a_loss_that_the_device_kept_quiet_about() -> None:
    time = ManualClock()
    clock = LiveClock(time)
    deliver(clock, begins_s=1000, delays_s=[0.0] * 50)
    deliver(clock, begins_s=1004, delays_s=[0.0] * 500, first_sample=50 * BLOCK_SAMPLES)
    time.now_s = 1014
    assert abs(clock.now_sample() - 550 * BLOCK_SAMPLES) <= 1
