from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.audio.framer import FRAME_SAMPLES, Framer
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import AudioBlock


def ramp(first: int, n_samples: int) -> AudioBlock:
    """A block whose samples are their own index."""
    return AudioBlock(first, np.arange(first, first + n_samples, dtype=np.int16))


def drained(framer: Framer) -> list[AudioBlock]:
    frames = iter(lambda: framer.next_frame(FRAME_SAMPLES), None)
    return [frame for frame in frames if frame is not None]


@given(st.lists(st.integers(0, 900), max_size=30))
def test_blocks_of_any_size_give_the_same_frames(sizes: list[int]) -> None:
    framer = Framer(max_gap_samples=0)
    frames = []
    first = 7
    for size in sizes:
        framer.take(ramp(first, size))
        frames += drained(framer)
        first += size
    whole = (first - 7) // FRAME_SAMPLES
    assert [q.first_sample for q in frames] == [7 + FRAME_SAMPLES * n for n in range(whole)]
    assert all(np.array_equal(q.samples, ramp(q.first_sample, 256).samples) for q in frames)


def test_the_first_block_starts_afresh_and_the_next_continues() -> None:
    framer = Framer(max_gap_samples=0)
    assert framer.take(ramp(1000, 100))
    assert not framer.take(ramp(1100, 100))
    assert framer.position == 1000


def test_a_short_gap_becomes_silence_and_is_counted() -> None:
    framer = Framer(max_gap_samples=100)
    framer.take(ramp(1, 156))
    assert not framer.take(ramp(257, 256))
    (first, _) = [*drained(framer), None][:2]
    assert first is not None
    assert first.samples[155] == 156
    assert not first.samples[156:].any()
    assert framer.lost_samples == 100


def test_a_long_gap_starts_afresh_and_drops_what_was_incomplete() -> None:
    framer = Framer(max_gap_samples=100)
    framer.take(ramp(0, 156))
    assert framer.take(ramp(257, 256))
    (frame,) = drained(framer)
    assert frame.first_sample == 257
    assert framer.lost_samples == 101


def test_a_block_that_goes_back_is_an_error_that_names_both_samples() -> None:
    framer = Framer(max_gap_samples=100)
    framer.take(ramp(0, 300))
    with pytest.raises(AudioDeviceError, match="sample 299, before 300"):
        framer.take(ramp(299, 10))


@pytest.mark.parametrize("samples", [np.zeros(4, np.float32), np.zeros((4, 2), np.int16)])
def test_only_mono_int16_is_taken(samples: np.ndarray) -> None:
    with pytest.raises(AudioDeviceError, match=r"mono int16 of shape \(n,\)"):
        Framer(max_gap_samples=0).take(AudioBlock(0, samples))


def test_an_empty_block_changes_nothing() -> None:
    framer = Framer(max_gap_samples=0)
    assert not framer.take(AudioBlock(5, np.zeros(0, np.int16)))
    assert framer.position is None


def test_skipping_keeps_the_place_and_losing_drops_it() -> None:
    framer = Framer(max_gap_samples=0)
    framer.take(ramp(0, 100))
    framer.skip(ramp(100, 50))
    assert framer.position == 150
    assert not drained(framer)
    assert not framer.take(ramp(150, 256))


def test_a_lost_place_may_be_found_anywhere() -> None:
    framer = Framer(max_gap_samples=0)
    framer.take(ramp(100, 50))
    framer.lose()
    assert framer.position is None
    assert framer.take(ramp(7, 256))
    assert [frame.first_sample for frame in drained(framer)] == [7]


def test_forgotten_audio_is_zeroed_in_memory() -> None:
    framer = Framer(max_gap_samples=0)
    framer.take(ramp(1, 100))
    pending = framer._pending
    framer.forget()
    assert not pending.any()
