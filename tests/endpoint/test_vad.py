"""Silero's network on the bundled clip, whose words are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voice_daemon.assets import DEMO_CLIP
from voice_daemon.audio.file import load_audio
from voice_daemon.audio.resample import to_int16
from voice_daemon.endpoint.vad import SileroVad
from voice_daemon.events import ms_to_samples

CLIP = to_int16(load_audio(DEMO_CLIP))
HEARD_WHOLE = SileroVad().feed(CLIP)
SPOKEN_MS = (750, 3000)
"""First and last sound of the clip, about."""


def frames_over(probabilities: list[float], threshold: float) -> list[int]:
    return [number for number, probability in enumerate(probabilities) if probability >= threshold]


def test_speech_is_heard_where_it_is_and_nowhere_else() -> None:
    vad = SileroVad()
    voiced = frames_over(vad.feed(CLIP), 0.5)
    first, end = voiced[0] * vad.frame_samples, (voiced[-1] + 1) * vad.frame_samples
    assert abs(first - ms_to_samples(SPOKEN_MS[0])) <= ms_to_samples(100)
    assert abs(end - ms_to_samples(SPOKEN_MS[1])) <= ms_to_samples(150)
    assert len(voiced) * vad.frame_samples > 0.9 * (end - first)


@pytest.mark.parametrize("level", [0, 1, 100, 3000])
def test_noise_is_no_speech(level: int) -> None:
    noise = np.random.default_rng(1).normal(0, level, 5 * 16_000).astype(np.int16)
    assert frames_over(SileroVad().feed(noise), 0.5) == []


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, len(CLIP)), max_size=30))
def test_it_does_not_depend_on_the_blocks(cuts: list[int]) -> None:
    vad = SileroVad()
    edges = sorted({0, len(CLIP), *cuts})
    pieces: list[NDArray[np.int16]] = [CLIP[first:end] for first, end in pairwise(edges)]
    assert [p for piece in pieces for p in vad.feed(piece)] == HEARD_WHOLE


def test_after_a_reset_it_is_as_new() -> None:
    vad = SileroVad()
    vad.feed(CLIP[:20_001])
    vad.reset()
    assert vad.feed(CLIP) == HEARD_WHOLE


def test_two_do_not_disturb_one_another() -> None:
    one, other = SileroVad(), SileroVad()
    heard = []
    for at in range(0, len(CLIP), 512):
        heard += one.feed(CLIP[at : at + 512])
        other.feed(CLIP[-at - 512 :][:512])
    assert heard == HEARD_WHOLE


def test_an_unfinished_frame_waits() -> None:
    vad = SileroVad()
    assert vad.feed(CLIP[: vad.frame_samples - 1]) == []
    assert len(vad.feed(CLIP[vad.frame_samples - 1 : vad.frame_samples])) == 1
