"""Values of a list: ways to say its entries, numbers in digits and in words of a language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

LARGEST_IN_WORDS = 100


class Value(NamedTuple):
    """One way to say an entry of a list."""

    words: tuple[str, ...]
    written: str
    """How the home spells it."""
    meaning: str
    domain: str = ""


def spoken_numbers(numbers: Iterable[float], language: str) -> Iterator[Value]:
    """Every way to write some numbers."""
    for number in numbers:
        meaning = f"{number:g}"
        yield Value((meaning,), meaning, meaning)
        if number == int(number) and 0 <= number <= LARGEST_IN_WORDS:
            for text in number_words(int(number), language):
                yield Value(tuple(text.split()), text, meaning)


@cache
def number_words(number: int, language: str) -> tuple[str, ...]:
    """A whole number in words, with and without hyphens; () where the language has no rules."""
    try:
        from hassil.numbers import get_rbnf_engine  # noqa: PLC0415 - an extra

        forms = get_rbnf_engine(language).format_number(number).text_by_ruleset.values()
    except (ImportError, ValueError):
        return ()
    found: dict[str, None] = {}
    for form in forms:
        text = form.replace("\u00ad", "")
        if text.replace("-", "").replace(" ", "").isalpha():
            found[text] = None
            found[text.replace("-", " ")] = None
    return tuple(found)
