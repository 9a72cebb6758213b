"""Text as it sounds: folded words, their distance, and compounds written apart."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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


COMPOUNDING = frozenset({"de", "nl", "sv", "da", "nb", "fi", "is", "et", "hu", "af", "lb"})
"""Languages that write what belongs together as one word, which a recogniser often splits."""
SHORTEST_PART = 3

_WORD = re.compile(r"[^\W_]+(?:[.'][^\W_]+)*")
_SIGNS = {"%": " percent ", "\u00b0": " degrees ", "\u2019": "'"}


def fold(text: str) -> tuple[str, ...]:
    """The words of a text without case and punctuation: "To-do: 50%" -> to, do, 50, percent."""
    for sign, words in _SIGNS.items():
        text = text.replace(sign, words)
    return tuple(_WORD.findall(unicodedata.normalize("NFC", text).casefold()))


def compound_ends(names: Iterable[str], language: str) -> frozenset[str]:
    """Words that the compounds of a home may end with; none where a language has no compounds."""
    if language.split("-", maxsplit=1)[0] not in COMPOUNDING:
        return frozenset()
    words = (word.casefold() for name in names for word in name.split())
    return _COMMON_ENDS | {word for word in words if len(word) >= SHORTEST_PART}


def join_compounds(text: str, ends: frozenset[str]) -> Iterator[str]:
    """A name with one compound written apart, where its end is a word of another name.

    "Garagenlicht" is heard as "Garagen Licht" in a home that has a "Licht" or a "Deckenlicht".
    """
    words = text.split()
    for at, word in enumerate(words):
        low = word.casefold()
        for cut in range(SHORTEST_PART, len(low) - SHORTEST_PART + 1):
            if low[cut:] in ends and len(low) == len(word):
                tail = low[cut:].capitalize() if word[:1].isupper() else low[cut:]
                yield " ".join([*words[:at], word[:cut], tail, *words[at + 1 :]])


# What devices and rooms are called; a compound of a home ends with one of these.
_COMMON_ENDS = frozenset(
    [
        "licht",
        "lampe",
        "lampen",
        "leuchte",
        "tor",
        "tür",
        "fenster",
        "rollladen",
        "heizung",
        "schalter",
        "steckdose",
        "zimmer",
        "raum",
        "ventilator",
        "thermostat",
        "sensor",
        "lamp",
        "lampen",
        "deur",
        "raam",
        "verlichting",
        "kamer",
        "thermostaat",
        "schakelaar",
        "lampa",
        "lampor",
        "dörr",
        "fönster",
        "rum",
        "lys",
        "dør",
        "vindue",
        "stue",
    ]
)

_INSIDE_WORD = re.compile(
    r"(?<=[a-z\u00df-\u00ff])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)
_UNSAID = re.compile(r"[^\w\s'.-]|_")


def said_apart(text: str) -> Iterator[str]:
    """A name without what is written and not said: HeatPump as "Heat Pump", "A + B" as "A B"."""
    for said in (_UNSAID.sub(" ", text), _INSIDE_WORD.sub(" ", _UNSAID.sub(" ", text))):
        plain = " ".join(said.split())
        if plain and plain != text:
            yield plain


def sound_distance(a: str, b: str, language: str) -> float:
    """The distance of two texts by sound: 0 for the same, 1 for nothing in common."""
    letters_a, letters_b = (_spelled_out(text, language) for text in (a, b))
    return (
        edit_share(letters_a, letters_b) + edit_share(_sounds(letters_a), _sounds(letters_b))
    ) / 2


def letters_left_out(a: str, b: str, language: str) -> int:
    """The number of letters that `a` has more than `b`, numbers in words."""
    return max(0, len(_spelled_out(a, language)) - len(_spelled_out(b, language)))


def _spelled_out(text: str, language: str) -> str:
    """Letters alone, numbers in words."""
    words: list[str] = []
    for word in fold(text):
        said = number_words(int(word), language) if word.isdecimal() and len(word) < 4 else ()
        words.append(said[-1] if said else word)
    bare = unicodedata.normalize("NFKD", "".join(words))
    return "".join(sign for sign in bare if sign.isalnum())


@cache
def _sound_table() -> dict[int, str]:
    """Letters that are easily heard for one another; vowels alike."""
    groups = {
        "A": "aeiouyh\u00f8\u00e6",
        "B": "bpfvw",
        "D": "dt",
        "G": "gckqxj",
        "S": "sz\u00df",
        "M": "mn",
        "L": "lr",
    }
    return {ord(letter): group for group, letters in groups.items() for letter in letters}


def _sounds(letters: str) -> str:
    """The consonants' kinds, with runs and vowels between them as one."""
    kinds = letters.translate(_sound_table())
    once = re.sub(r"(.)\1+", r"\1", kinds)
    return once[:1] + once[1:].replace("A", "")


def edit_share(a: Sequence[str], b: Sequence[str]) -> float:
    """Edit distance over the longer length."""
    longest = max(len(a), len(b))
    return edit_distance(a, b) / longest if longest else 0.0


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Insertions, deletions and replacements that make `b` of `a`."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]
