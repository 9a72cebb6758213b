"""The ring of recent audio, checked against a plain list that never forgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.audio.ring import RingBuffer
from voice_daemon.events import AudioBlock


def block(first_sample: int, *values: int) -> AudioBlock:
    return AudioBlock(first_sample, np.array(values, np.int16))


def test_it_keeps_the_newest_samples() -> None:
    ring = RingBuffer(4)
    ring.push(block(0, 1, 2, 3))
    ring.push(block(3, 4, 5, 6))
    assert (ring.first_sample, ring.end_sample) == (2, 6)
    assert ring.read(0, 100).tolist() == [3, 4, 5, 6]


def test_reading_outside_what_is_held_gives_nothing() -> None:
    ring = RingBuffer(4)
    ring.push(block(10, 1, 2))
    assert ring.read(0, 10).size == 0
    assert ring.read(12, 20).size == 0
    assert ring.read(12, 11).size == 0


def test_lost_audio_reads_as_zeros() -> None:
    ring = RingBuffer(8)
    ring.push(block(0, 1, 2))
    ring.push(block(4, 5, 6))
    assert ring.read(0, 6).tolist() == [1, 2, 0, 0, 5, 6]


def test_a_gap_longer_than_the_ring_leaves_nothing_old() -> None:
    ring = RingBuffer(4)
    ring.push(block(0, 1, 2, 3, 4))
    ring.push(block(1000, 5, 6))
    assert ring.read(0, 2000).tolist() == [0, 0, 5, 6]


def test_what_was_read_does_not_change_when_more_is_pushed() -> None:
    ring = RingBuffer(2)
    ring.push(block(0, 1, 2))
    read = ring.read(0, 2)
    ring.push(block(2, 3, 4))
    assert read.tolist() == [1, 2]


def test_clear_forgets_and_may_begin_anywhere_again() -> None:
    ring = RingBuffer(4)
    ring.push(block(100, 1, 2))
    ring.clear()
    assert ring.read(0, 1000).size == 0
    assert not ring._store.any()
    ring.push(block(7, 3))
    assert ring.read(0, 1000).tolist() == [3]


def test_a_block_that_goes_back_is_refused() -> None:
    ring = RingBuffer(4)
    ring.push(block(5, 1, 2))
    with pytest.raises(ValueError, match="begins at sample 6, before 7"):
        ring.push(block(6, 3))


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        RingBuffer(0)


@given(
    capacity=st.integers(1, 20),
    pushes=st.lists(st.tuples(st.integers(0, 25), st.integers(1, 30)), min_size=1),
    bounds=st.tuples(st.integers(0, 400), st.integers(0, 400)),
)
def test_it_reads_like_the_end_of_an_endless_recording(
    capacity: int, pushes: list[tuple[int, int]], bounds: tuple[int, int]
) -> None:
    ring = RingBuffer(capacity)
    recording: dict[int, int] = {}
    end_sample = 0
    for gap, n_samples in pushes:
        first_sample = end_sample + gap
        end_sample = first_sample + n_samples
        recording.update((at, at + 1) for at in range(first_sample, end_sample))
        ring.push(AudioBlock(first_sample, np.arange(first_sample + 1, end_sample + 1, dtype="i2")))
    begins = max(min(recording), end_sample - capacity)
    wanted = [at for at in range(*bounds) if begins <= at < end_sample]
    assert ring.read(*bounds).tolist() == [recording.get(at, 0) for at in wanted]
