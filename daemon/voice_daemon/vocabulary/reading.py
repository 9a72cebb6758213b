"""Reads a text as a home does: finds the sentences of its grammar, and their slots.

Reads by folded words, so that case, punctuation and hyphens do not matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from voice_daemon.events import Ending
from voice_daemon.vocabulary.grammar import START, Arcs, ListArc, Position, SentenceGrammar
from voice_daemon.vocabulary.spoken import Value, edit_share, fold
from voice_daemon.vocabulary.templates import OWN

MAX_READINGS = 48
MAX_VISITS = 20_000
MAX_WORDS = 40
ALIKE = 0.3
"""Letters that may differ, of all."""

_RAW_WORD = re.compile(r"\S+")
_EDGES = re.compile(r"^(\W*)(.*?)([^\w%\u00b0]*)$", re.DOTALL)


class Piece(NamedTuple):
    """A value of a list, where it stands in the folded words."""

    first: int
    end: int
    written: str


class HomeRequest(NamedTuple):
    """The request in a text: equal for two texts that ask for the same."""

    intent: str
    slots: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand a text."""

    meaning: HomeRequest
    sentence: int
    """Number of the own sentence; -1 for one of Home Assistant's."""
    domains: frozenset[str]
    """Kinds of entities that it acts upon, as far as that is known."""
    pieces: tuple[Piece, ...]
    fixed: tuple[str, ...]
    """The folded words that no list holds."""
    open_words: tuple[tuple[str, ...], ...] = ()
    """Runs of words that a wildcard took: anything may stand there."""
    words: tuple[str, ...] = ()
    """All folded words."""

    def keeps(self, heard: tuple[str, ...]) -> bool:
        """True when every wildcard holds what was `heard`, and something beside it was heard.

        Anything may stand in a wildcard, so that no word there is more probable for the home.
        """
        if not self.open_words:
            return True
        text = f" {' '.join(heard)} "
        anchors = set(self.words) - {word for run in self.open_words for word in run}
        whole = all(f" {' '.join(run)} " in text for run in self.open_words)
        return whole and not anchors.isdisjoint(heard)


class _Way(NamedTuple):
    """A part of a sentence that was read."""

    position: Position
    at: int
    values: tuple[tuple[str, Value], ...] = ()
    pieces: tuple[Piece, ...] = ()
    wild: tuple[tuple[int, int], ...] = ()


class Reader:
    """Reads texts by a grammar; keeps its words folded."""

    def __init__(self, grammar: SentenceGrammar) -> None:
        self._grammar = grammar
        self._folded: dict[str, tuple[str, ...]] = {}
        self._values: dict[ListArc, dict[str, list[tuple[tuple[str, ...], Value]]]] = {}
        self._starts: dict[str, list[tuple[tuple[str, ...], Position]]] = {}
        for word, after in grammar.arcs(START).words:
            if folded := self._fold(word):
                self._starts.setdefault(folded[0], []).append((folded, after))

    def read(self, text: str) -> tuple[Reading, ...]:
        """Every way to understand a text, `MAX_READINGS` at most; () where it is no sentence."""
        words = fold(text)
        if not 0 < len(words) <= MAX_WORDS:
            return ()
        found: dict[tuple[object, ...], Reading] = {}
        for block, way in self._ways(words):
            reading = self._reading(block, way, words)
            key = (reading.meaning, reading.pieces, reading.sentence, reading.open_words)
            found.setdefault(key, reading)
            if len(found) >= MAX_READINGS:
                break
        return tuple(found.values())

    def begins_like(self, word: str) -> bool:
        """True when a sentence begins with a word that is written nearly so."""
        return any(edit_share(word, first) <= ALIKE for first in self._starts)

    def understood(self, text: str) -> tuple[str, tuple[str, ...]]:
        """The longest beginning that a sentence may have, and words that may come next."""
        words = fold(text)[:MAX_WORDS]
        stack = [_Way(START, 0)]
        seen: set[tuple[Position, int]] = set()
        farthest, places = 0, {START}
        while stack and len(seen) < MAX_VISITS:
            way = stack.pop()
            if (way.position, way.at) in seen:
                continue
            seen.add((way.position, way.at))
            if way.at > farthest:
                farthest, places = way.at, set()
            if way.at == farthest:
                places.add(way.position)
            if way.at < len(words):
                stack += self._next(way, self._grammar.arcs(way.position), words)
        following = [self._grammar.arcs(place) for place in sorted(places)]
        next_words = [word for arcs in following for word, _ in arcs.words if word[:1] != ","]
        next_words += [f"{{{arc.slot}}}" for arcs in following for arc, _ in arcs.lists]
        return " ".join(words[:farthest]), tuple(dict.fromkeys(next_words))

    def ending(self, text: str) -> Ending | None:
        """Give what may follow a text in a sentence of the home; None where none begins so."""
        words = fold(text)
        reached = whole = goes_on = False
        stack = [(START, 0)] if len(words) <= MAX_WORDS else []
        seen: set[tuple[Position, int]] = set()
        while stack and len(seen) < MAX_VISITS:
            position, at = place = stack.pop()
            if place in seen:
                continue
            seen.add(place)
            arcs = self._grammar.arcs(position)
            if at == len(words):
                reached = True
                whole = whole or arcs.block >= 0
                goes_on = goes_on or self._goes_on(arcs)
                continue
            rest = words[at:]
            # A wildcard takes more words, and a longer name may begin so.
            goes_on = goes_on or bool(arcs.anything)
            goes_on = goes_on or any(self._begins_value(arc, rest) for arc, _ in arcs.lists)
            stack += [(way.position, way.at) for way in self._next(_Way(*place), arcs, words)]
        if not (reached or goes_on):
            return None
        return Ending.OPEN if not whole else Ending.WHOLE if goes_on else Ending.CLOSED

    def _goes_on(self, arcs: Arcs) -> bool:
        """True where more may be said, "please" aside."""
        more = any(word.lstrip(",") not in self._grammar.polite for word, _ in arcs.words)
        return more or bool(arcs.lists or arcs.anything)

    def _begins_value(self, arc: ListArc, words: tuple[str, ...]) -> bool:
        longer = self._folded_values(arc).get(words[0], ())
        return any(
            len(folded) > len(words) and folded[: len(words)] == words for folded, _ in longer
        )

    def _ways(self, words: tuple[str, ...]) -> Iterator[tuple[int, _Way]]:
        stack = [_Way(START, 0)]
        seen: set[_Way] = set()
        while stack and len(seen) < MAX_VISITS:
            way = stack.pop()
            if way in seen:
                continue
            seen.add(way)
            arcs = self._grammar.arcs(way.position)
            if way.at == len(words):
                if arcs.block >= 0:
                    yield arcs.block, way
                continue
            stack += self._next(way, arcs, words)

    def _next(self, way: _Way, arcs: Arcs, words: tuple[str, ...]) -> Iterator[_Way]:
        at = way.at
        if way.position == START:
            literal = self._starts.get(words[at], [])
        else:
            literal = [(self._fold(word), after) for word, after in arcs.words]
        for after in arcs.anything:
            for end in range(at + 1, len(words) + 1):
                yield way._replace(position=after, at=end, wild=(*way.wild, (at, end)))
        for folded, after in literal:
            if folded and words[at : at + len(folded)] == folded:
                yield way._replace(position=after, at=at + len(folded))
        for arc, after in arcs.lists:
            for folded, value in self._folded_values(arc).get(words[at], ()):
                end = at + len(folded)
                if words[at:end] == folded:
                    piece = Piece(at, end, arc.prefix + value.written + arc.suffix)
                    values = (*way.values, (arc.slot, value))
                    pieces = (*way.pieces, piece)
                    yield _Way(after, end, values, pieces, way.wild)

    def _folded_values(self, arc: ListArc) -> dict[str, list[tuple[tuple[str, ...], Value]]]:
        """Values of a list by their first folded word."""
        key = arc._replace(slot="")
        found = self._values.get(key)
        if found is None:
            found = self._values[key] = {}
            for value in self._grammar.lists[arc.list_id]:
                folded = fold(f"{arc.prefix}{' '.join(value.words)}{arc.suffix}")
                if folded:
                    found.setdefault(folded[0], []).append((folded, value))
        return found

    def _reading(self, block: int, way: _Way, words: tuple[str, ...]) -> Reading:
        known = self._grammar.blocks[block]
        named = {value.domain for _, value in way.values if value.domain}
        slots = {(slot, value.meaning) for slot, value in way.values}
        if known.data is not None:
            slots |= {(key, str(value)) for key, value in known.data.slots.items()}
        within = {at for piece in way.pieces for at in range(piece.first, piece.end)}
        return Reading(
            meaning=HomeRequest(known.intent, frozenset(slots)),
            sentence=known.sentence,
            domains=frozenset(named) or known.domains,
            pieces=way.pieces,
            fixed=tuple(word for at, word in enumerate(words) if at not in within),
            open_words=tuple(words[first:end] for first, end in way.wild),
            words=words,
        )

    def _fold(self, word: str) -> tuple[str, ...]:
        found = self._folded.get(word)
        if found is None:
            found = self._folded[word] = fold(word)
        return found


def respelled(text: str, reading: Reading, *, exact: bool = False) -> str:
    """The text with names as the home spells them; case alone matters where it is `exact`."""
    raw = [match.span() for match in _RAW_WORD.finditer(text)]
    owner: list[int] = []
    for at, (first, end) in enumerate(raw):
        owner += [at] * len(fold(text[first:end]))
    for piece in sorted(reading.pieces, reverse=True):
        if piece.end > len(owner):
            return text
        first, last = owner[piece.first], owner[piece.end - 1]
        begins, ends = raw[first][0], raw[last][1]
        before, said, behind = _EDGES.match(text[begins:ends]).groups()  # type: ignore[union-attr]
        named = piece.written != piece.written.lower()
        same = said == piece.written if exact and named else _alike(said, piece.written)
        if not same and _whole(piece, owner):
            text = f"{text[:begins]}{before}{piece.written}{behind}{text[ends:]}"
    return text


def _alike(a: str, b: str) -> bool:
    return a.casefold() == b.casefold()


def _whole(piece: Piece, owner: list[int]) -> bool:
    """True when the piece begins and ends where written words do."""
    begins = piece.first == 0 or owner[piece.first - 1] != owner[piece.first]
    ends = piece.end == len(owner) or owner[piece.end] != owner[piece.end - 1]
    return begins and ends


def same_meaning(a: tuple[Reading, ...], b: tuple[Reading, ...], heard: frozenset[str]) -> bool:
    """True when two texts ask for the same.

    What the fixed words of different own sentences mean is not known. They count as the same
    where the words that only `a` has were `heard`.
    """
    if {r.meaning for r in a if r.meaning.intent != OWN} & {r.meaning for r in b}:
        return True
    for one in a:
        for other in b:
            if one.meaning == other.meaning and one.meaning.intent == OWN:
                own = set(one.fixed) - set(other.fixed)
                if one.sentence == other.sentence or own <= heard:
                    return True
    return False
