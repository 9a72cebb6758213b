from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.audio.framer import QUANTUM_SAMPLES, Quantizer
from voice_daemon.errors import AudioDeviceError
from voice_daemon.events import AudioBlock


def ramp(first: int, n_samples: int) -> AudioBlock:
    """A block whose samples are their own index."""
    return AudioBlock(first, np.arange(first, first + n_samples, dtype=np.int16))


def drained(quantizer: Quantizer) -> list[AudioBlock]:
    return list(quantizer.quanta())


@given(st.lists(st.integers(0, 900), max_size=30))
def test_blocks_of_any_size_give_the_same_quanta(sizes: list[int]) -> None:
    quantizer = Quantizer(max_gap_samples=0)
    quanta = []
    first = 7
    for size in sizes:
        quantizer.take(ramp(first, size))
        quanta += drained(quantizer)
        first += size
    whole = (first - 7) // QUANTUM_SAMPLES
    assert [q.first_sample for q in quanta] == [7 + QUANTUM_SAMPLES * n for n in range(whole)]
    assert all(np.array_equal(q.samples, ramp(q.first_sample, 256).samples) for q in quanta)


def test_the_first_block_starts_afresh_and_the_next_continues() -> None:
    quantizer = Quantizer(max_gap_samples=0)
    assert quantizer.take(ramp(1000, 100))
    assert not quantizer.take(ramp(1100, 100))
    assert quantizer.position == 1000


def test_a_short_gap_becomes_silence_and_is_counted() -> None:
    quantizer = Quantizer(max_gap_samples=100)
    quantizer.take(ramp(1, 156))
    assert not quantizer.take(ramp(257, 256))
    (first, _) = [*drained(quantizer), None][:2]
    assert first is not None
    assert first.samples[155] == 156
    assert not first.samples[156:].any()
    assert (quantizer.gaps, quantizer.lost_samples) == (1, 100)


def test_a_long_gap_starts_afresh_and_drops_what_was_incomplete() -> None:
    quantizer = Quantizer(max_gap_samples=100)
    quantizer.take(ramp(0, 156))
    assert quantizer.take(ramp(257, 256))
    (quantum,) = drained(quantizer)
    assert quantum.first_sample == 257
    assert (quantizer.gaps, quantizer.lost_samples) == (1, 101)


def test_a_block_that_goes_back_is_an_error_that_names_both_samples() -> None:
    quantizer = Quantizer(max_gap_samples=100)
    quantizer.take(ramp(0, 300))
    with pytest.raises(AudioDeviceError, match="sample 299, before 300"):
        quantizer.take(ramp(299, 10))


@pytest.mark.parametrize("samples", [np.zeros(4, np.float32), np.zeros((4, 2), np.int16)])
def test_only_mono_int16_is_taken(samples: np.ndarray) -> None:
    with pytest.raises(AudioDeviceError, match=r"mono int16 of shape \(n,\)"):
        Quantizer(max_gap_samples=0).take(AudioBlock(0, samples))


def test_an_empty_block_changes_nothing() -> None:
    quantizer = Quantizer(max_gap_samples=0)
    assert not quantizer.take(AudioBlock(5, np.zeros(0, np.int16)))
    assert quantizer.position is None


def test_skipping_keeps_the_place_and_losing_drops_it() -> None:
    quantizer = Quantizer(max_gap_samples=0)
    quantizer.take(ramp(0, 100))
    quantizer.skip(ramp(100, 50))
    assert quantizer.position == 150
    assert not drained(quantizer)
    assert not quantizer.take(ramp(150, 256))


def test_a_lost_place_may_be_found_anywhere() -> None:
    quantizer = Quantizer(max_gap_samples=0)
    quantizer.take(ramp(100, 50))
    quantizer.lose()
    assert quantizer.position is None
    assert quantizer.take(ramp(7, 256))
    assert [quantum.first_sample for quantum in drained(quantizer)] == [7]


def test_forgotten_audio_is_zeroed_in_memory() -> None:
    quantizer = Quantizer(max_gap_samples=0)
    quantizer.take(ramp(1, 100))
    pending = quantizer._pending
    quantizer.forget()
    assert not pending.any()
