"""A wake phrase as words: whether it is a good one, and what sounds like it but is not it."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from typing import Final

import numpy as np

from voice_daemon.errors import UsageError

MAX_WORDS: Final = 5
_FEW_SYLLABLES: Final = 3
_VERY_COMMON: Final = 1000
"""Of the shipped words, the commonest first."""
_ALIKE: Final = 0.55
"""Similarity of sounds from which a word is near to another."""
_TOO_ALIKE: Final = 0.76
"""From here on it is the word itself: "compute" would teach not to hear "computer"."""
_RHYME: Final = 3
"""Sounds at the end that two words share: a network that hears the phrase by its end takes one for
the other."""
_SOUNDS: Final = (
    *(
        (r"tch|ch|sh|ge|j", "j"),
        (r"ph|gh|v", "f"),
        (r"x", "ks"),
        (r"c(?=[eiy])|z", "s"),
        (r"ck|[cqg]", "k"),
    ),
    *((r"wh", "w"), (r"kn|n|m", "n"), (r"d|th", "t"), (r"b", "p"), (r"[aeiouy]+", "a"), (r"h", "")),
)
"""Spellings of English sounds that are hard to tell apart, in order."""


def clean_phrase(phrase: str) -> str:
    """Return a phrase in lower case with single spaces; raises `UsageError` for what is none."""
    words = re.findall(r"[a-z']+", phrase.lower())
    said = " ".join(words)
    if not 1 <= len(words) <= MAX_WORDS or len(re.sub(r"[\s,.!?-]", "", phrase)) != len(
        said.replace(" ", "")
    ):
        raise UsageError(
            "wake.phrase",
            f"{phrase!r} is not a phrase of one to {MAX_WORDS} English words",
            remedy='write it as it is spoken: `daemonctl wake train "okay house"`',
        )
    return said


def wake_word_of_phrase(phrase: str) -> str:
    """Name the wake word of a clean phrase: "okay house" -> "okay_house"."""
    return phrase.replace("'", "").replace(" ", "_")


def syllables(phrase: str) -> int:
    """Count the syllables of a phrase, by its spelling."""
    return sum(
        max(1, len(re.findall(r"[aeiouy]+", re.sub(r"(?<=[^aeiouyl])e$", "", word))))
        for word in phrase.split()
    )


def doubts(phrase: str, common: Sequence[str]) -> list[str]:
    """Say what speaks against a phrase, a sentence each; `common`: words, the commonest first."""
    words = phrase.split()
    found = []
    if syllables(phrase) < _FEW_SYLLABLES:
        found.append(
            f'"{phrase}" is short: words of fewer than {_FEW_SYLLABLES} syllables are missed more '
            "and wake more by mistake"
        )
    often = [word for word in words if word in set(common[:_VERY_COMMON])]
    if often and len(often) == len(words):
        said = " and ".join(f'"{word}"' for word in often)
        found.append(f"{said} {'are words' if len(often) > 1 else 'is a word'} of every day's talk")
    return found


def near_misses(phrase: str, common: Sequence[str], *, most: int) -> tuple[str, ...]:
    """Give phrases that sound somewhat like it, rhyme with it or are half of it: none may wake."""
    rng = np.random.default_rng(0)
    words = phrase.split()
    found = [" ".join(words[:n]) for n in range(1, len(words))]
    found += [" ".join(words[n:]) for n in range(1, len(words))]
    places = []
    for at, word in enumerate(words):
        kinds = [_alike(word, common), _rhymes(word, common)]
        if len(words) > 1:
            kinds.append([common[n] for n in rng.permutation(len(common))[:most]])
        places += [[" ".join((*words[:at], o, *words[at + 1 :])) for o in kind] for kind in kinds]
    # Of each kind and place in turn: what one has too few of, the others give.
    found += [each for turn in zip_longest(*places) for each in turn if each]
    unlike = (each for each in dict.fromkeys(found) if similarity(each, phrase) < _TOO_ALIKE)
    return tuple(islice(unlike, most))


def _rhymes(word: str, common: Sequence[str]) -> list[str]:
    """Give words that end like this one, the commonest first."""
    end = _sounds(word)[-_RHYME:]
    return [other for other in common if other != word and _sounds(other).endswith(end)]


def _alike(word: str, common: Sequence[str]) -> tuple[str, ...]:
    """Give words that sound like this one, the most alike first, but for its own forms."""
    n = syllables(word)
    near_in_length = (other for other in common if abs(syllables(other) - n) <= 1)
    marked = [(similarity(word, other), other) for other in near_in_length if other != word]
    near = [(alike, other) for alike, other in marked if _ALIKE <= alike < _TOO_ALIKE]
    return tuple(other for _, other in sorted(near, reverse=True))


def similarity(one: str, other: str) -> float:
    """Compare two texts by their sounds, 0..1."""
    a, b = _sounds(one), _sounds(other)
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


def _sounds(text: str) -> str:
    sounds = text.lower().replace("'", "").replace(" ", "")
    for spelling, sound in _SOUNDS:
        sounds = re.sub(spelling, sound, sounds)
    return re.sub(r"(.)\1+", r"\1", sounds)
