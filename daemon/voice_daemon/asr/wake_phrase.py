"""Finds a wake phrase at the beginning of a text that was read with it.

Owns how differently from the way it is written a phrase may be read: "Hey, Jarvis" is, and so
is "Travis" alone. Pure; knows nothing of audio or of the model.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voice_daemon.events import Word

ALIKE = 0.6
"""Shared letters over all letters of two phrases that are taken for one another."""
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def after_phrase(text: str, phrase: str) -> str | None:
    """Return what follows the phrase that `text` begins with; None where it begins otherwise.

    The phrase may be read without its first words, and not quite as it is written. It ends
    with a word, and its punctuation goes with it.
    """
    said = list(_WORD.finditer(text))
    wanted = _WORD.findall(phrase.casefold())
    best, end = 0.0, 0
    for n_words in range(1, min(len(said), len(wanted) + 1) + 1):
        heard = "".join(match.group().casefold() for match in said[:n_words])
        for first in range(len(wanted)):
            likeness = SequenceMatcher(None, heard, "".join(wanted[first:])).ratio()
            if likeness > best:
                best, end = likeness, said[n_words - 1].end()
    if best < ALIKE:
        return None
    rest = _WORD.search(text, end)
    return text[rest.start() :] if rest else ""


def last_words(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """Return those of `words`, in order, that make up `text`, which is the end of what they say."""
    wanted = _n_letters(text)
    first = len(words)
    while first and wanted > 0:
        first -= 1
        wanted -= _n_letters(words[first].text)
    return tuple(words[first:])


def _n_letters(text: str) -> int:
    return sum(letter.isalnum() for letter in text)
