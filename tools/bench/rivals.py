"""Other ways to hear a home's sentences, run on the same clips where they are installed.

A closed grammar, as speech-to-phrase and Rhasspy have it: PocketSphinx (`pip install
pocketsphinx`, which brings its model; names that its dictionary lacks are spelt out by flite).
Text snapping: of what Whisper heard, the sentence with the fewest letters changed.

Both know the document's own sentences, or, where Home Assistant's are asked for, those that its
package has for speech-to-phrase: the large set is too large for either.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from voice_daemon.asr.cooperative import at_once
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.grammar import START, Position, SentenceGrammar
from voice_daemon.vocabulary.reading import Reader
from voice_daemon.vocabulary.spoken import fold, number_words

Edge = tuple[Position, tuple[str, ...], Position]

MOST_CHANGED: Final = 0.3
"""Share of the letters that snapping may change."""
KEPT: Final = 1024
"""Letters of a text, at most: a distance and a place are kept in one number."""
PHONES: Final = {"ax": "AH", "pau": ""}
"""flite's phones that PocketSphinx's dictionary writes otherwise."""


class Rival(Protocol):
    """Makes a text of a clip."""

    def hear(self, samples: NDArray[np.float32], heard: str) -> str:
        """The text of (n,) float32 at 16 kHz, which Whisper heard as `heard`; "" for none."""


def rivals_of(
    document: Document,
    language: str,
    *,
    home_sentences: bool,
    understands: Callable[[str], object] = lambda _: False,
) -> dict[str, Rival]:
    """Those that can be run here, by name; a text that is understood need not be snapped."""
    known = speech_to_phrase_home(document, language) if home_sentences else document
    grammar = at_once(SentenceGrammar.building(known, language, home_sentences=False))
    edges = [*spoken_edges(grammar)]
    ends = frozenset(at for edge in edges for at in edge[::2] if grammar.arcs(at).block >= 0)
    rivals: dict[str, Rival] = {"text snapping": TextSnap(edges, ends, understands)}
    if find_spec("pocketsphinx") and language == "en":
        rivals["closed grammar"] = ClosedGrammar(edges, ends, Reader(grammar))
    return rivals


def speech_to_phrase_home(document: Document, language: str) -> Document:
    """A home with the package's sentences for speech-to-phrase, as its own."""
    folder = importlib.resources.files("home_assistant_intents") / "speech_to_phrase"
    raw = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
    lists: dict[str, tuple[str, ...]] = {
        name: _spoken_values(values, language) for name, values in raw["lists"].items()
    }
    sentences: list[str] = []
    for body in raw["intents"].values():
        for block in body["data"]:
            domains = block.get("requires_context", {}).get("domain", ())
            named = "_".join(["name", *domains])
            lists[named] = tuple(
                said
                for name in document.entities
                if not domains or name.domain in domains
                for said in (name.text, *name.aliases)
            )
            for template in block["sentences"]:
                text = _without_rules(template, raw["expansion_rules"])
                text = re.sub(r"\{(\w+):\w+\}", r"{\1}", text).replace("{name}", f"{{{named}}}")
                if all(
                    lists.get(used, used in {"area", "floor"})
                    for used in re.findall(r"\{(\w+)\}", text)
                ):
                    sentences.append(text)
    return replace(document, lists=lists, sentences=tuple(sentences))


def _spoken_values(values: Mapping[str, Any], language: str) -> tuple[str, ...]:
    """What may be said for a list; () for a wildcard."""
    if limits := values.get("range"):
        numbers = range(limits["from"], limits["to"] + 1, limits.get("step", 1))
        return tuple(words for n in numbers if n <= 100 for words in number_words(n, language)[-1:])
    said = [value["in"] if isinstance(value, dict) else value for value in values.get("values", ())]
    return tuple(text for text in said if not set("[](|)<>{}") & set(text))


def _without_rules(template: str, rules: Mapping[str, str]) -> str:
    """A template with its rules written out."""
    while found := re.search(r"<(\w+)>", template):
        template = f"{template[: found.start()]}({rules[found[1]]}){template[found.end() :]}"
    return template


def spoken_edges(grammar: SentenceGrammar) -> Iterator[Edge]:
    """Every way on in a grammar without wildcards, in words that are said: no digits."""
    waiting, seen = [START], {START}
    while waiting:
        position = waiting.pop()
        arcs = grammar.arcs(position)
        said = [(word, after) for word, after in arcs.words if word[:1] != ","]
        for arc, after in arcs.lists:
            values = (" ".join(value.words) for value in grammar.lists[arc.list_id])
            said += [(f"{arc.prefix}{value}{arc.suffix}", after) for value in values]
        for text, after in dict.fromkeys(said):
            words = fold(text)
            if any(sign.isdigit() for sign in text):
                continue
            yield position, words, after
            if after not in seen:
                seen.add(after)
                waiting.append(after)


class _Leaving(NamedTuple):
    """The ways on from a position."""

    texts: list[str]
    after: list[Position]
    letters: NDArray[np.int64]
    """(n, longest) of the texts, 0 behind their ends."""

    @classmethod
    def of(cls, ways: list[tuple[str, Position]]) -> _Leaving:
        """Bring the texts into one array."""
        texts = [text for text, _ in ways]
        longest = max(len(text.replace(" ", "")) for text in texts)
        padded = [text.replace(" ", "").ljust(longest, "\0") for text in texts]
        letters = np.array([[ord(letter) for letter in text] for text in padded], dtype=np.int64)
        return cls(texts, [after for _, after in ways], letters)

    def written(self, distances: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Edit distances behind every text, each with the place where it began: (n, L + 1)."""
        steps = np.arange(len(distances)) * KEPT
        rows = np.tile(distances * KEPT + np.arange(len(distances)), (len(self.texts), 1))
        for column in self.letters.T:
            along = rows[:, :-1] + (codes != column[:, None]) * KEPT
            grown = np.minimum(along, rows[:, 1:] + KEPT)
            grown = np.concatenate([rows[:, :1] + KEPT, grown], axis=1)
            grown = np.minimum.accumulate(grown - steps, axis=1) + steps
            rows = np.where(column[:, None] > 0, grown, rows)
        return rows


class TextSnap:
    """Finds the sentence that takes the fewest changes of letters, over the whole grammar."""

    def __init__(
        self,
        edges: list[Edge],
        ends: frozenset[Position],
        understands: Callable[[str], object],
    ) -> None:
        self._ends = ends
        self._understands = understands
        ways: dict[Position, list[tuple[str, Position]]] = {}
        for position, words, after in edges:
            ways.setdefault(position, []).append((" ".join(words), after))
        self._leaving = {position: _Leaving.of(found) for position, found in ways.items()}
        self._order = [*reversed([*self._postorder(START, set())])]

    def _postorder(self, position: Position, seen: set[Position]) -> Iterator[Position]:
        seen.add(position)
        if position in self._leaving:
            for after in self._leaving[position].after:
                if after not in seen:
                    yield from self._postorder(after, seen)
            yield position

    def hear(self, samples: NDArray[np.float32], heard: str) -> str:
        """See `Rival`; what was heard where no sentence is near it."""
        del samples
        if self._understands(heard):
            return heard
        letters = "".join(fold(heard))[: KEPT - 1]
        text, n_changed = self.closest(letters)
        longest = max(len(letters), len(text.replace(" ", "")))
        return text if longest and n_changed <= MOST_CHANGED * longest else heard

    def closest(self, letters: str) -> tuple[str, int]:
        """The sentence and its distance."""
        codes = np.array([ord(letter) for letter in letters], dtype=np.int64)
        none = np.full(len(codes) + 1, KEPT, dtype=np.int64)
        reached = {START: np.arange(len(codes) + 1)}
        came: dict[tuple[Position, int], tuple[Position, int, str]] = {}
        for position in self._order:
            leaving = self._leaving[position]
            every = leaving.written(reached[position], codes)
            for text, after, behind in zip(leaving.texts, leaving.after, every, strict=True):
                before = reached.setdefault(after, none.copy())
                for at in np.nonzero(behind // KEPT < before)[0].tolist():
                    before[at], begun = divmod(int(behind[at]), KEPT)
                    came[after, at] = (position, begun, text)
        distance, position = min((int(reached[end][-1]), end) for end in self._ends)
        at = len(codes)
        said: list[str] = []
        while position != START:
            position, at, text = came[position, at]
            said.append(text)
        return " ".join(reversed(said)), distance


class ClosedGrammar:
    """PocketSphinx with the sentences as a finite-state grammar: it hears nothing else."""

    def __init__(self, edges: list[Edge], ends: frozenset[Position], reader: Reader) -> None:
        import pocketsphinx  # noqa: PLC0415 - there where somebody installed it

        self._reader = reader
        model = pocketsphinx.get_model_path
        self._decoder = pocketsphinx.Decoder(
            hmm=model("en-us/en-us"),
            dict=model("en-us/cmudict-en-us.dict"),
            lm=None,
            loglevel="FATAL",
        )
        transitions = [*self._transitions(edges, ends)]
        self._decoder.add_fsg(
            "home", self._decoder.create_fsg("home", START, START + 1, transitions)
        )
        self._decoder.activate_search("home")

    def _transitions(
        self, edges: list[Edge], ends: frozenset[Position]
    ) -> Iterator[tuple[int, int, float] | tuple[int, int, float, str]]:
        """Steps of a word each; all of one place as likely."""
        states = {START: 0}
        n_leaving: dict[Position, int] = {}
        for position, _, _ in edges:
            n_leaving[position] = n_leaving.get(position, 0) + 1
        n_states = 2
        for position, words, after in edges:
            if not words or not all(self._knows(word) for word in words):
                continue
            for place in (position, after):
                if place not in states:
                    states[place], n_states = n_states, n_states + 1
            inside = [*range(n_states, n_states + len(words) - 1)]
            n_states += len(inside)
            path = [states[position], *inside, states[after]]
            share = 1 / n_leaving[position]
            for at, word in enumerate(words):
                yield path[at], path[at + 1], 1.0 if at else share, word
        yield from ((states[end], START + 1, 1.0) for end in ends if end in states)

    def _knows(self, word: str) -> bool:
        if self._decoder.lookup_word(word) is None:
            phones = _spelt_out(word)
            if not phones:
                return False
            self._decoder.add_word(word, phones, False)  # noqa: FBT003 - takes no keyword
        return True

    def hear(self, samples: NDArray[np.float32], heard: str) -> str:
        """See `Rival`."""
        del heard
        self._decoder.start_utt()
        pcm = (samples * 32767).clip(-32768, 32767).astype(np.int16).tobytes()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        # Where no path ends, it gives the beginning of one.
        return found.hypstr if found and self._reader.read(found.hypstr) else ""


@cache
def _spelt_out(word: str) -> str:
    """A word's phones as flite says it; "" without flite."""
    if not shutil.which("flite"):
        return ""
    command = ["flite", "-t", word, "-ps", "-o", "none"]
    spoken = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return " ".join(filter(None, (PHONES.get(phone, phone.upper()) for phone in spoken)))
