"""The figures of one clip, as pure functions of words and times.

Sources: average lagging in its length-adaptive form, Papi, Gaido, Negri and Turchi (2022,
arXiv 2204.06028); normalised erasure, Arivazhagan et al. (2020, arXiv 2004.03643). Knows nothing
of recognisers or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tools.bench.alignment import same_words
from tools.bench.replay import Run, Shown
from tools.bench.text import words_of

LOOP_TIMES = 4
"""A run of words said this many times in a row is a loop."""
LOOP_WORDS = 8
"""The longest run that is looked for."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A comparable word and the second of the clip at which it has been said."""

    text: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Latency:
    """How long after its end in speech one word was shown, in seconds."""

    live_s: float
    """On the real-time clock: the wait for audio and all computing counted."""
    audio_s: float
    """In audio time alone: how much more had to be heard."""


def violations(committed: Sequence[str]) -> int:
    """How often committed text, as shown one after the other, took something back."""
    return sum(not after.startswith(before) for before, after in pairwise(committed))


def erased_words(shown: Sequence[Sequence[str]]) -> int:
    """Words that were shown and taken away again, over a sequence of whole outputs."""
    return sum(len(before) - _common(before, after) for before, after in pairwise(shown))


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common beginning."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return min(len(a), len(b))


def laal(delays_s: Sequence[float], *, source_s: float, n_reference: int) -> float | None:
    """Length-adaptive average lagging in seconds; None without words.

    `delays_s` is when each word was out: the audio heard by then, or with computing the time.
    An ideal system says word i at i / max(n_words, n_reference) of the source; words after the
    first that waited for the whole source do not count, as they no longer lag.
    """
    if not delays_s:
        return None
    pace_s = source_s / max(len(delays_s), n_reference)
    until = next((i for i, delay_s in enumerate(delays_s) if delay_s >= source_s), None)
    counted = delays_s if until is None else delays_s[: until + 1]
    return sum(delay_s - i * pace_s for i, delay_s in enumerate(counted)) / len(counted)


def word_delays(run: Run) -> tuple[Shown, ...]:
    """The output that brought each word: committed ones, then those that the final adds."""
    delays: list[Shown] = []
    for shown in run.steps:
        delays += [shown] * (len(words_of(shown.text)) - len(delays))
    return (*delays, *[run.final] * (len(words_of(run.final.text)) - len(delays)))


def latencies(
    reference: Sequence[TimedWord], run: Run, *, with_draft: bool
) -> tuple[Latency | None, ...]:
    """When each word of `reference` was first shown, committed or (`with_draft`) at all.

    What no step showed counts from the final; what the final misses too has none (None).
    """
    spoken = [word.text for word in reference]
    first: dict[int, Shown] = {}
    before: tuple[str, ...] = ()
    for shown in run.steps:
        words = words_of(shown.text + shown.draft if with_draft else shown.text)
        if words != before:
            for index, _ in same_words(spoken, words, whole=False):
                first.setdefault(index, shown)
        before = words
    for index, _ in same_words(spoken, words_of(run.final.text)):
        first.setdefault(index, run.final)
    return tuple(
        Latency(first[i].end_s - word.end_s, first[i].audio_s - word.end_s) if i in first else None
        for i, word in enumerate(reference)
    )


def first_text(run: Run) -> Shown | None:
    """The first output with any text, draft or committed; None where there was none."""
    return next((s for s in (*run.steps, run.final) if words_of(s.text + s.draft)), None)


def has_loop(words: Sequence[str]) -> bool:
    """Whether some run of words is said `LOOP_TIMES` times in a row."""
    for width in range(1, LOOP_WORDS + 1):
        same = 0
        for left, right in zip(words, words[width:], strict=False):
            same = same + 1 if left == right else 0
            if same == width * (LOOP_TIMES - 1):
                return True
    return False


def slots_understood(slots: Mapping[str, str], words: Sequence[str]) -> int:
    """How many of the slots' values are in the text, word for word."""
    line = f" {' '.join(words)} "
    return sum(f" {' '.join(words_of(value))} " in line for value in slots.values())


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Percentile by the nearest rank; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None without values."""
    return sum(values) / len(values) if values else None
