"""Which words of a hypothesis may be committed: the pure rules of the streaming policy.

A word is committed once, never retracted. It must be whole, attend safely behind the audio's
end, not jump back in the audio, and be readable; punctuation waits for the next word. Knows
nothing of MLX or of the model.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from voice_daemon.asr.alignatt import should_emit

if TYPE_CHECKING:
    from collections.abc import Sequence

CUT_MARGIN_FRAMES = 150
"""Frames at a window's end whose words may still change, and are never settled."""
SENTENCE_FRAMES = 15
"""The end of a sentence is worth this much of a pause."""
LEAST_PROBABILITY = 1e-6
MANY_WORDS = 12
KEPT_SHARE = 0.8
"""A reading with fewer than so many of the streamed words has lost some."""
REPLACEMENT = "�"
"""What incomplete UTF-8 decodes to."""


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
    """Of its least probable token."""

    @property
    def doubt(self) -> float:
        """In bits: 0 for a word that the model is sure of, 1 for one that it gives a half."""
        return -math.log2(max(self.probability, LEAST_PROBABILITY))

    @property
    def is_punctuation(self) -> bool:
        """True for a word of signs alone, which is said by nobody."""
        return all(letter in string.punctuation or letter.isspace() for letter in self.text)


@dataclass(frozen=True, slots=True)
class CommitRules:
    """The policy's numbers, in encoder frames of 20 ms between a word and the audio's end."""

    frame_threshold: int = 25
    """For each bit of doubt about a word: the less sure the model is, the more it has to hear."""
    least_frames: int = 4
    """For a word without any doubt."""
    most_frames: int = 90
    """For any word: it was heard out."""
    next_share: float = 0.25
    """How much of the doubt about the next word counts too: it may take over this one's end."""
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
    """How many of `words` may be committed now.

    `content_frames` is the audio's length in encoder frames, `last_frame` the frame of the last
    committed word (0 at the start), `ended` whether end-of-text followed the last word. Only
    the beginning of the next word shows that a word is whole, or much audio without one.
    """
    safe = 0
    spoken = [index for index, word in enumerate(words) if not word.is_punctuation]
    for index, following in zip_longest(spoken, spoken[1:]):
        word = words[index]
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
    doubt = word.doubt + (rules.next_share * following.doubt if following else 0.0)
    needed = rules.least_frames + rules.frame_threshold * doubt
    least = rules.ended_frames if following is None else rules.least_frames
    return max(least, round(min(needed, rules.most_frames)))


def leaves_out(words: Sequence[DraftWord], streamed: Sequence[DraftWord]) -> bool:
    """Tell whether a free reading lost a sentence that was heard while it was spoken.

    Over many seconds of audio Whisper sometimes jumps; step by step it cannot. A few words less
    are a better reading, and short texts are not judged by their number of words.
    """
    n_streamed = sum(not word.is_punctuation for word in streamed)
    n_words = sum(not word.is_punctuation for word in words)
    return n_streamed >= MANY_WORDS and n_words < KEPT_SHARE * n_streamed


def cut_point(words: Sequence[DraftWord], *, first_frame: int, end_frame: int) -> tuple[int, int]:
    """Where to cut a full window [first_frame, end_frame): (words before the cut, its frame).

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
        return sum(word.frame < latest for word in words), latest
    middle = (words[best - 1].frame + words[best].first_frame) // 2
    return best, min(max(middle, earliest), latest)
