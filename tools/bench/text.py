"""Text as words that can be compared: case, punctuation and the spelling of numbers left out.

Knows nothing of recognisers. Every text goes through here, transcripts and hypotheses alike.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNIT_WORDS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TEN_WORDS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS: Final = _UNIT_WORDS.split()
_TENS: Final = _TEN_WORDS.split()
_NUMBERS: Final = {
    **{word: str(number) for number, word in enumerate(_UNITS)},
    **{word: str(10 * ten) for ten, word in enumerate(_TENS, start=2)},
    "hundred": "100",
}
_SIGNS: Final = {"%": " percent ", "&": " and ", "°": " degrees ", "’": "'", "‘": "'"}  # noqa: RUF001 - curly quotes are meant
_INITIALS: Final = re.compile(r"(?<=\b[^\W\d])\.(?=[^\W\d]\b)")
"""The full stop inside "p.m." and "U.S.A."."""
_UNSPACED: Final = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f])")
"""Scripts without spaces between words: compared by the character."""
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words_of(text: str) -> tuple[str, ...]:
    """Split a text into comparable words: "Turn it to 25%." -> turn it to 20 5 percent."""
    plain = unicodedata.normalize("NFKC", text).lower()
    for sign, spoken in _SIGNS.items():
        plain = plain.replace(sign, spoken)
    plain = _UNSPACED.sub(r" \1 ", _INITIALS.sub("", plain))
    return tuple(part for word in _WORD.findall(plain) for part in _as_spoken(word))


def _as_spoken(word: str) -> tuple[str, ...]:
    """A number below 1000 in the parts that it is said in; longer ones are said in many ways."""
    if word in _NUMBERS:
        return (_NUMBERS[word],)
    if not (word.isascii() and word.isdigit()) or len(word) > len("999"):
        return (word,)
    hundreds, rest = divmod(int(word), 100)
    parts = [str(hundreds), "100"] if hundreds else []
    if rest < len(_UNITS):
        parts += [str(rest)] if rest or not hundreds else []
    else:
        parts.append(str(rest - rest % 10))
        parts += [str(rest % 10)] if rest % 10 else []
    return tuple(parts)
