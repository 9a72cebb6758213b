"""AlignAtt: when decoding stops, and which words may be committed."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_daemon.asr.alignatt import (
    CommitRules,
    DraftWord,
    attended_frames,
    committable,
    get_most_attended_frame,
    leaves_out,
    median_filter,
    should_emit,
)
from voice_daemon.asr.decoding import attended_on_device


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


@pytest.mark.parametrize(("n_tokens", "n_frames", "since"), [(1, 40, 0), (9, 60, 4), (5, 3, 1)])
@pytest.mark.parametrize("smoothing", [0, 7])
def test_a_gpu_finds_the_frames_that_numpy_finds(
    n_tokens: int, n_frames: int, since: int, smoothing: int
) -> None:
    rng = np.random.default_rng(n_tokens)
    scores = rng.normal(0, 3, (6, n_tokens, n_frames)).astype(np.float32)
    found = attended_on_device(mx.array(scores), since=since, smoothing=smoothing)
    expected = attended_frames(scores, since=since, smoothing=smoothing)
    np.testing.assert_array_equal(found, expected)


def test_the_median_filter_removes_single_spikes() -> None:
    row = np.zeros((1, 20), dtype=np.float32)
    row[0, 10] = 9.0
    assert median_filter(row, 7).max() == 0.0


def test_rows_shorter_than_the_filter_pass_unchanged() -> None:
    row = np.array([[1.0, 5.0, 2.0]], dtype=np.float32)
    assert median_filter(row, 7).tolist() == row.tolist()


RULES = CommitRules(frame_threshold=25, least_frames=5, most_frames=90, ended_frames=50)


def word(text: str, frame: int, *, probability: float = 1.0) -> DraftWord:
    return DraftWord(text, (1,), frame, frame, probability)


def n_safe(words: list[DraftWord], *, content: int, last: int = 0, ended: bool = False) -> int:
    return committable(words, content_frames=content, last_frame=last, ended=ended, rules=RULES)


def test_words_far_enough_behind_the_end_are_safe() -> None:
    words = [word(" turn", 20), word(" on", 40), word(" the", 60)]
    assert n_safe(words, content=66) == 2


def test_the_first_unsafe_word_holds_back_all_after_it() -> None:
    words = [word(" turn", 90), word(" on", 40), word(" the", 60)]
    assert n_safe(words, content=94) == 0


def test_the_last_word_waits_for_the_beginning_of_the_next() -> None:
    assert n_safe([word(" turn", 5)], content=1000) == 0


def test_the_last_word_is_whole_when_long_silence_follows_its_end_of_text() -> None:
    assert n_safe([word(" lights", 40), word(".", 42)], content=89, ended=True) == 0
    assert n_safe([word(" lights", 40), word(".", 42)], content=90, ended=True) == 1


def test_nothing_is_safe_where_nothing_was_said() -> None:
    assert n_safe([], content=1000, ended=True) == 0
    assert n_safe([word("...", 10)], content=1000, ended=True) == 0


def test_punctuation_waits_for_the_next_word() -> None:
    words = [word(" lights", 40), word(".", 45), word(" Then", 60)]
    assert n_safe(words, content=80) == 1
    assert n_safe([*words, word(" go", 80)], content=200) == 3


def test_each_halving_of_the_probability_asks_for_as_many_frames_more() -> None:
    for probability, needed in ((1.0, 5), (0.5, 30), (0.25, 55), (0.001, 90)):
        words = [word(" turn", 50, probability=probability), word(" on", 60)]
        assert n_safe(words, content=50 + needed - 1) == 0
        assert n_safe(words, content=50 + needed) == 1


def test_doubt_about_the_next_word_counts_by_its_share() -> None:
    words = [word(" turn", 50), word(" on", 60, probability=0.0625)]
    assert n_safe(words, content=50 + 29) == 0
    assert n_safe(words, content=50 + 30) == 1


def test_a_jump_back_in_the_audio_is_not_safe() -> None:
    words = [word(" turn", 10), word(" on", 60)]
    assert n_safe(words, content=200, last=100) == 0
    assert n_safe(words, content=200, last=45) == 1


def test_incomplete_characters_are_held() -> None:
    words = [word(" caf�", 10), word(" on", 60)]
    assert n_safe(words, content=200) == 0


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(0, 400))
def test_more_audio_never_takes_a_word_back(frames: list[int], content: int) -> None:
    words = [word(f" w{index}", frame) for index, frame in enumerate(frames)]
    assert n_safe(words, content=content) <= n_safe(words, content=content + 50)


def test_a_reading_that_jumps_over_a_sentence_is_told() -> None:
    streamed = [word(f" w{index}", 10 * index) for index in range(20)]
    assert leaves_out([*streamed[:5], *streamed[15:]], streamed)
    assert not leaves_out(streamed[:17], streamed)
    assert not leaves_out([], streamed[:11])
    assert leaves_out([*streamed[:10], *[word(".", 100)] * 10], streamed)
