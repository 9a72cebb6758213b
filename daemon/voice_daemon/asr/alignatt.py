"""AlignAtt as pure functions of arrays: attended frames, and the words that are safe to commit.

The policy is that of Papi, Turchi and Negri, "AlignAtt: Using Attention-based Audio-Translation
Alignments as a Guide for Simultaneous Speech Translation" (Interspeech 2023, arXiv 2305.11408):
a token is emitted once the audio frame it attends to most lies safely before the end of the
audio heard so far. Imports neither MLX nor a model.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MEDIAN_BLOCK = 1 << 14
"""Numbers that are filtered at a time: they stay in the processor's cache."""
MEDIAN_WIDTH = 7
"""Frames of the median filter over attention, as in Whisper's own word timing."""


def get_most_attended_frame(
    cross_qk: Sequence[ArrayLike | None], alignment_heads: Sequence[tuple[int, int]]
) -> int:
    """The encoder frame that the newest token attends to most, averaged over the heads.

    `cross_qk[layer]` holds that layer's attention scores before the softmax, (n_heads,
    n_tokens, n_frames) or the same with a leading batch of one; layers without an alignment
    head may be None. Only frames of real audio belong in it. Raises ValueError without heads.
    """
    if not alignment_heads:
        raise ValueError("the model has no alignment heads: AlignAtt cannot be used with it")
    rows = []
    for layer, head in alignment_heads:
        scores = np.asarray(cross_qk[layer], dtype=np.float32)
        rows.append(scores.reshape(-1, *scores.shape[-2:])[head, -1])
    return int(softmax(np.stack(rows)).mean(axis=0).argmax())


def should_emit(most_attended_frame: int, content_frames: int, threshold: int) -> bool:
    """True when a token is safe: it attends at least `threshold` frames before the end."""
    return content_frames - most_attended_frame >= threshold


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis, in float32."""
    weights: NDArray[np.float32] = scores - scores.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def attended_frames(
    scores: NDArray[np.float32], *, since: int = 0, smoothing: int = MEDIAN_WIDTH
) -> NDArray[np.int64]:
    """Most attended frame of each token from `since` on: (n_heads, n_tokens, n_frames) scores.

    With a `smoothing` of 1 or more, weights are standardised over the tokens and median-filtered
    over so many frames (an odd number) before the mean over heads, which removes the frames that
    every token attends to (Whisper's word timing, and Simul-Whisper, arXiv 2406.10052). 0: the
    mean of the weights as they are.
    """
    weights = softmax(scores)
    if smoothing and weights.shape[1] > 1:
        weights -= weights.mean(axis=1, keepdims=True)
        deviation = np.sqrt(np.square(weights).mean(axis=1, keepdims=True))
        # A frame that all tokens weigh alike does not deviate at all.
        weights /= deviation + 1e-6
    else:
        smoothing = 0
    return peaks(weights[:, since:], smoothing=smoothing)


def peaks(weights: NDArray[np.float32], *, smoothing: int) -> NDArray[np.int64]:
    """The frame of the greatest mean over the heads, for each token of filtered weights."""
    frames: NDArray[np.int64] = median_filter(weights, smoothing).mean(axis=0).argmax(axis=-1)
    return frames


def median_filter(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Running median of an odd `width` over the last axis, edges reflected.

    Shorter rows are left as they are.
    """
    length = values.shape[-1]
    if width < 3 or length <= width // 2:
        return values
    rows = values.reshape(-1, length)
    n_together = max(1, _MEDIAN_BLOCK // length)
    parts = [
        _running_median(rows[first : first + n_together], width)
        for first in range(0, len(rows), n_together)
    ]
    return np.concatenate(parts).reshape(values.shape) if parts else values


def _running_median(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Half a bubble sort of whole shifted rows: numpy's own median sorts each window."""
    padded = np.pad(rows, ((0, 0), (width // 2, width // 2)), mode="reflect")
    shifted = [padded[:, at : at + rows.shape[1]] for at in range(width)]
    for n_sorted in range(width // 2 + 1):
        for at in range(width - 1 - n_sorted):
            a, b = shifted[at], shifted[at + 1]
            shifted[at], shifted[at + 1] = np.minimum(a, b), np.maximum(a, b)
    return shifted[width // 2]


SPOKEN_FRAMES_A_TOKEN = 3
"""Nobody speaks a run of tokens faster, the signs between words counted: 60 ms a token."""
LEAST_REST_FRAMES = 20
"""Audio behind a loop in which a word has room."""


def repeats_that_move_on(frames: Sequence[int], width: int) -> int:
    """Count the first repetitions of a run of `width` tokens that were spoken one after another.

    `frames` are the most attended ones of all tokens of all repetitions, one run behind the
    other. Attention wanders by a word, so that a run's mean counts, and the way from the first
    to the last run: two words that are alike often attend to the same place.
    """
    places = np.asarray(frames).reshape(-1, width).mean(axis=1)
    least = SPOKEN_FRAMES_A_TOKEN * width
    if places[-1] - places[0] >= least * (len(places) - 1):
        return len(places)
    standing = np.flatnonzero(np.diff(places) < least)
    return int(standing[0]) + 1 if standing.size else len(places)


JUMP = 3
"""A way between two words that is so many times the usual one passes over speech."""


def before_loop_end(words: Sequence[DraftWord]) -> tuple[int, int]:
    """Cut a text that ran into a loop: (words that stand where they were said, their end's frame).

    A loop shows late: the last round often attends to what was said behind it, and before that
    the attention may have jumped ahead, or stood still while a word came again. What follows is
    read again, as a round too many does less harm than a word too few.
    """
    spoken = [at for at, word in enumerate(words) if not word.is_punctuation]
    if len(spoken) < 2:
        return len(words), words[-1].frame if words else 0
    ways = np.diff([words[at].frame for at in spoken])
    usual = max(0.0, float(np.median(ways)))
    again = [words[a].text == words[b].text for a, b in pairwise(spoken)]
    left = (ways > max(JUMP * usual, LEAST_REST_FRAMES)) | (np.array(again) & (ways <= 0))
    last = int(left.argmax()) if left.any() else len(ways) - 1
    # A word attends to its middle.
    return spoken[last] + 1, words[spoken[last]].frame + round(usual / 2)


CUT_MARGIN_FRAMES = 150
"""Frames at a window's end whose words may still change, and are never finalised."""
SENTENCE_FRAMES = 15
"""The end of a sentence is worth this much of a pause."""
LEAST_PROBABILITY = 1e-6
MANY_WORDS = 12
KEPT_SHARE = 0.8
"""A free decode with fewer than this share of the streamed words has lost some."""
REPLACEMENT = "�"
"""Stands in decoded text for incomplete UTF-8."""


@dataclass(frozen=True, slots=True)
class DraftWord:
    """One word of a hypothesis past the committed text."""

    text: str
    """With its leading space, if it has one."""
    tokens: tuple[int, ...]
    first_frame: int
    """The earliest encoder frame that one of its tokens attends to."""
    frame: int
    """The latest encoder frame that one of its tokens attends to."""
    probability: float
    """Probability of its least probable token."""

    @property
    def surprisal(self) -> float:
        """-log2 of the probability, in bits: 0 for a sure word, 1 for one of probability 0.5."""
        return -math.log2(max(self.probability, LEAST_PROBABILITY))

    @property
    def is_punctuation(self) -> bool:
        """True for a word of signs alone, which is said by nobody."""
        return not "".join(self.text.split()).strip(string.punctuation)


@dataclass(frozen=True, slots=True)
class CommitRules:
    """The policy's numbers, in encoder frames of 20 ms between a word and the audio's end."""

    frame_threshold: int = 25
    """For each bit of a word's surprisal: the less sure the model is, the more it has to hear."""
    least_frames: int = 4
    """For a word of no surprisal."""
    most_frames: int = 90
    """For any word: it was heard out."""
    next_share: float = 0.25
    """Share of the next word's surprisal that counts too: it may take over this one's end."""
    ended_frames: int = 40
    """For the last word, when end-of-text follows it: no next word shows that it is whole."""
    rewind_frames: int = 40
    """A word that attends this far before the last committed one has lost its place."""


def committable(
    words: Sequence[DraftWord],
    *,
    content_frames: int,
    last_frame: int,
    ended: bool,
    rules: CommitRules,
) -> int:
    """Count the words that may be committed now.

    `content_frames` is the audio's length in encoder frames, `last_frame` the frame of the last
    committed word (0 at the start), `ended` whether end-of-text followed the last word. Only
    the beginning of the next word shows that a word is whole, or much audio without one.
    """
    safe = 0
    spoken = [index for index, word in enumerate(words) if not word.is_punctuation]
    for index, following in zip_longest(spoken, spoken[1:]):
        word = words[index]
        # Nothing behind it shows that it is whole: it may go on.
        if following is None and not ended:
            break
        if REPLACEMENT in word.text or word.frame < last_frame - rules.rewind_frames:
            break
        threshold = _threshold(word, None if following is None else words[following], rules)
        if not should_emit(word.frame, content_frames, threshold):
            break
        safe = index + 1
        last_frame = max(last_frame, word.frame)
    return safe


def _threshold(word: DraftWord, following: DraftWord | None, rules: CommitRules) -> int:
    """Frames that must lie between a word and the audio's end."""
    surprisal = word.surprisal + (rules.next_share * following.surprisal if following else 0.0)
    needed = rules.least_frames + rules.frame_threshold * surprisal
    least = rules.ended_frames if following is None else rules.least_frames
    return max(least, round(min(needed, rules.most_frames)))


def leaves_out(words: Sequence[DraftWord], streamed: Sequence[DraftWord]) -> bool:
    """Tell whether a free decode lost a sentence that was heard while it was spoken.

    Over many seconds of audio Whisper sometimes jumps; step by step it cannot. A few words less
    are a better text, and short texts are not judged by their number of words.
    """
    n_streamed = sum(not word.is_punctuation for word in streamed)
    n_words = sum(not word.is_punctuation for word in words)
    return n_streamed >= MANY_WORDS and n_words < KEPT_SHARE * n_streamed


def cut_point(words: Sequence[DraftWord], *, first_frame: int, end_frame: int) -> tuple[int, int]:
    """Cut a full window [first_frame, end_frame) in two: (words before the cut, its frame).

    The cut lies in the longest pause between two words, after the window's first third and
    well before its end, where words may still change; the end of a sentence counts as a pause.
    """
    latest = end_frame - CUT_MARGIN_FRAMES
    earliest = first_frame + (end_frame - first_frame) // 3
    best, best_pause = None, -1
    for index in range(1, len(words)):
        before, after = words[index - 1], words[index]
        if after.is_punctuation or not earliest <= before.frame < latest:
            continue
        pause = after.first_frame - before.frame + SENTENCE_FRAMES * before.is_punctuation
        if pause > best_pause:
            best, best_pause = index, pause
    if best is None:
        # One long breath without a pause: the cut goes through it.
        return sum(word.frame < latest for word in words), latest
    middle = (words[best - 1].frame + words[best].first_frame) // 2
    return best, min(max(middle, earliest), latest)
