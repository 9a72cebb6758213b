"""AlignAtt's pure rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.asr.alignatt import (
    attended_frames,
    get_most_attended_frame,
    median_filter,
    should_emit,
)


def scores_at(frames: list[int], *, n_frames: int, n_heads: int = 2) -> np.ndarray:
    """(n_heads, n_tokens, n_frames) scores with a clear bump at each token's frame."""
    distance = np.abs(np.arange(n_frames)[None, :] - np.array(frames)[:, None])
    return np.repeat(-0.5 * distance[None].astype(np.float32), n_heads, axis=0)


def test_a_token_exactly_the_threshold_behind_the_end_is_safe() -> None:
    assert should_emit(75, 100, 25)
    assert not should_emit(76, 100, 25)


@given(st.integers(0, 1500), st.integers(0, 1500), st.integers(0, 200))
def test_more_audio_never_makes_a_token_unsafe(frame: int, content: int, threshold: int) -> None:
    if should_emit(frame, content, threshold):
        assert should_emit(frame, content + 1, threshold)


def test_the_most_attended_frame_is_that_of_the_newest_token() -> None:
    layer = scores_at([10, 30], n_frames=60)
    assert get_most_attended_frame([None, layer], [(1, 0), (1, 1)]) == 30


def test_scores_with_a_leading_batch_axis_are_read_alike() -> None:
    layer = scores_at([10, 30], n_frames=60)[None]
    assert get_most_attended_frame([layer], [(0, 1)]) == 30


def test_heads_are_averaged_as_weights_not_as_scores() -> None:
    one = scores_at([5], n_frames=20, n_heads=1)
    other = scores_at([15], n_frames=20, n_heads=1) * 0.01
    assert get_most_attended_frame([np.concatenate([one, other])], [(0, 0), (0, 1)]) == 5


def test_a_model_without_alignment_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="alignment heads"):
        get_most_attended_frame([scores_at([1], n_frames=5)], [])


def test_a_frame_that_every_token_attends_to_is_discounted() -> None:
    scores = scores_at([20, 60, 100], n_frames=150)
    scores[:, :, 5] = 2.0
    assert attended_frames(scores, smoothing=0).tolist() == [5, 5, 5]
    assert np.abs(attended_frames(scores) - [20, 60, 100]).max() <= 3


@given(st.lists(st.integers(0, 99), min_size=1, max_size=6))
def test_frames_lie_inside_the_audio(frames: list[int]) -> None:
    found = attended_frames(scores_at(frames, n_frames=100))
    assert found.shape == (len(frames),)
    assert ((found >= 0) & (found < 100)).all()


def test_the_median_filter_removes_single_spikes() -> None:
    row = np.zeros((1, 20), dtype=np.float32)
    row[0, 10] = 9.0
    assert median_filter(row, 7).max() == 0.0


def test_rows_shorter_than_the_filter_pass_unchanged() -> None:
    row = np.array([[1.0, 5.0, 2.0]], dtype=np.float32)
    assert median_filter(row, 7).tolist() == row.tolist()
