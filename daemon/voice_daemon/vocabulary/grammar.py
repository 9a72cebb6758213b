"""The sentences that a home understands, as an automaton over words that is made as it is walked.

A position is a hash-consed list of what is still to be said (partial derivatives, Antimirov 1996),
so that nothing is expanded before somebody comes to it: Home Assistant's English templates stand
for some 10^11 sentences.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from voice_daemon.asr.cooperative import Steps
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.spoken import Value, spoken_numbers
from voice_daemon.vocabulary.templates import Templates, reading_templates

try:
    from hassil import expression as hx
    from hassil.expression import Expression
    from hassil.intents import IntentData, RangeSlotList, TextSlotList, WildcardSlotList
    from hassil.util import check_excluded_context, check_required_context
except ImportError:  # pragma: no cover - the extra is there wherever this is tested
    pass

MAX_STATES = 20_000
"""States of one word's expansion; a template that needs more is left out."""
MAX_FORMS = 64
"""Ways to say one value of a list."""

Position = int
START: Position = 0


class ListArc(NamedTuple):
    """A transition over all values of a list."""

    list_id: int
    prefix: str
    """Text of the template that the first word begins with, as in "l'{area}"."""
    suffix: str
    """The same at the last word's end, as in "{brightness}%"."""
    slot: str


@dataclass(frozen=True, slots=True)
class Arcs:
    """The ways on from a position."""

    words: tuple[tuple[str, Position], ...] = ()
    lists: tuple[tuple[ListArc, Position], ...] = ()
    anything: tuple[Position, ...] = ()
    """Positions behind a wildcard."""
    block: int = -1
    """The block of templates that is complete here; -1 where nothing is."""


class SentenceGrammar:
    """Positions and what may follow them; grows as it is walked."""

    def __init__(self, templates: Templates, language: str) -> None:
        self.language = language
        self.blocks = templates.blocks
        self.n_unread = templates.n_unread
        """Templates that could not be used."""
        self._starts = templates.starts
        self._named_lists = templates.lists
        self._rules = templates.rules
        self._skipped = templates.skipped
        self._cells: list[tuple[Any, int, Position]] = [(None, -1, START)]
        self._ids: dict[tuple[object, int, Position], Position] = {}
        self._arcs: dict[Position, Arcs] = {}
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        self._values: dict[object, int] = {}
        self._list_of: dict[tuple[str, int], int] = {}
        self._alive: dict[tuple[int, int], bool] = {}
        self._kinds: dict[int, dict[str, tuple[Any, list[Any]]]] = {}
        self.lists: list[tuple[Value, ...]] = []
        self.polite = frozenset(phrase.partition(" ")[0] for phrase in templates.skipped)
        """First words of what means nothing, such as "please"."""

    @classmethod
    def building(
        cls, document: Document, language: str, *, home_sentences: bool = True
    ) -> Steps[SentenceGrammar]:
        """Make the grammar of a home in steps, its start already walked.

        Raises VocabularyError where the extra is missing or the language has no sentences.
        """
        templates = yield from reading_templates(document, language, home_sentences=home_sentences)
        grammar = cls(templates, language)
        yield from grammar._opening()
        return grammar

    def arcs(self, position: Position) -> Arcs:
        """The ways on from a position; computed once."""
        found = self._arcs.get(position)
        if found is None:
            found = self._arcs[position] = self._explore(position)
        return found

    def _opening(self) -> Steps[None]:
        """Walk the first word of every template."""
        words: list[tuple[str, Position]] = []
        lists: list[tuple[ListArc, Position]] = []
        for at, (expression, block) in enumerate(self._starts):
            if at % 8 == 0:
                yield
            if not self._is_alive(expression, block):
                continue
            end = self._cons(None, block, START)
            try:
                arcs = self._explore(self._cons(expression, block, end))
            except _TooManyStatesError:
                self.n_unread += 1
                continue
            # A sentence that may begin with anything would follow any speech: no wildcards.
            words += arcs.words
            lists += arcs.lists
        words += self._polite(START)
        self._arcs[START] = Arcs(tuple(dict.fromkeys(words)), tuple(dict.fromkeys(lists)))

    def _polite(self, then: Position) -> Iterator[tuple[str, Position]]:
        """Words that Home Assistant skips, before a sentence or behind it."""
        for phrase in self._skipped:
            head, _, tail = phrase.partition(" ")
            yield head, self._cons(tail, -1, then) if tail else then

    def _cons(self, item: object, block: int, rest: Position) -> Position:
        """Make the position of `item` with `rest` behind it; None is the sentence's end."""
        key = (item if item is None or isinstance(item, str) else self._number(item), block, rest)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self._cells)
            self._cells.append((item, block, rest))
        return found

    def _number(self, item: object) -> int:
        """Give an expression a number for as long as the grammar lives."""
        number = self._numbers.get(id(item))
        if number is None:
            number = self._numbers[id(item)] = len(self._kept)
            # Kept alive: the id of an object that has gone may become another's.
            self._kept.append(item)
        return number

    def _explore(self, position: Position) -> Arcs:
        """Expand until every way has read one word."""
        found = _Found()
        seen: set[_State] = set()
        stack = [_State("", None, position)]
        while stack:
            state = stack.pop()
            if state in seen:
                continue
            seen.add(state)
            if len(seen) > MAX_STATES:
                raise _TooManyStatesError
            stack += self._advance(state, found)
        if found.block >= 0:
            polite = list(self._polite(self._cons(None, found.block, START)))
            found.words.update(dict.fromkeys(polite))
            # A recogniser puts a comma there, which nobody says.
            found.words.update(dict.fromkeys((f",{word}", after) for word, after in polite))
        return Arcs(tuple(found.words), tuple(found.lists), tuple(found.anything), found.block)

    def _advance(self, state: _State, found: _Found) -> Iterable[_State]:
        """Read the first item of what is still to be said."""
        item, block, rest = self._cells[state.at]
        if item is None:
            found.end_word(state, state.at, state.text)
            if state.fresh:
                found.block = block
            return ()
        if isinstance(item, str):
            return self._spell(item, state, found)
        if isinstance(item, hx.ListReference):
            list_id = self._list(item, block)
            if list_id == _ANYTHING:
                found.anything[rest] = None
            elif list_id is not None and state.over is None:
                return (_State("", ListArc(list_id, state.text, "", item.slot_name), rest),)
            return ()
        return (_State(state.text, state.over, at) for at in self._expand(item, block, rest))

    def _spell(self, item: str, state: _State, found: _Found) -> Iterable[_State]:
        """Read text. Before a word spaces mean nothing; behind one they end it."""
        _, block, rest = self._cells[state.at]
        head, space, tail = (item.lstrip() if state.fresh else item).partition(" ")
        if not space:
            return (_State(state.text + head, state.over, rest),)
        after = self._cons(tail, block, rest) if tail.strip() else rest
        if state.fresh and not head:
            return (_State("", None, after),)
        found.end_word(state, after, state.text + head)
        return ()

    def _expand(self, item: Expression, block: int, rest: Position) -> list[Position]:
        """Read an expression, then `rest`, in every way."""
        if isinstance(item, hx.TextChunk):
            return [self._cons(item.original_text, block, rest)]
        if isinstance(item, hx.Alternative):
            alive = (way for way in item.items if self._is_alive(way, block))
            return [self._cons(way, block, rest) for way in alive]
        if isinstance(item, hx.Permutation):
            return self._permuted(item, block, rest)
        if isinstance(item, hx.Group):
            for part in reversed(item.items):
                rest = self._cons(part, block, rest)
            return [rest]
        if isinstance(item, hx.RuleReference):
            rule = self._rule(item, block)
            return [] if rule is None else [self._cons(rule, block, rest)]
        return []

    def _permuted(self, item: hx.Permutation, block: int, rest: Position) -> list[Position]:
        key = ("permuted", self._number(item))
        if key not in self._values:
            # Made once: hassil makes new objects at each call, and each would be a new position.
            self._values[key] = self._number(list(item.iterate_permutations()))
        ways: Any = self._kept[self._values[key]]
        found = []
        for first, others in ways:
            tail = self._cons(others, block, rest) if others.items else rest
            spaced = self._cons(first, block, self._cons(" ", block, tail))
            found.append(self._cons(" ", block, spaced))
        return found

    def _rule(self, item: hx.RuleReference, block: int) -> Expression | None:
        data = self.blocks[block].data
        local = data.expansion_rules if data is not None else {}
        rule = local.get(item.rule_name) or self._rules.get(item.rule_name)
        return None if rule is None else rule.expression

    def _is_alive(self, item: Expression, block: int, depth: int = 0) -> bool:
        """False where a list without values makes an expression impossible to say."""
        key = (self._number(item), block)
        found = self._alive.get(key)
        if found is None:
            # Rules may name each other in a ring.
            found = depth < 24 and self._lives(item, block, depth + 1)
            self._alive[key] = found
        return found

    def _lives(self, item: Expression, block: int, depth: int) -> bool:
        if isinstance(item, hx.ListReference):
            return self._list(item, block) is not None
        if isinstance(item, hx.RuleReference):
            rule = self._rule(item, block)
            return rule is not None and self._is_alive(rule, block, depth)
        if isinstance(item, hx.Alternative):
            return any(self._is_alive(part, block, depth) for part in item.items)
        if isinstance(item, hx.Group):
            return all(self._is_alive(part, block, depth) for part in item.items)
        return True

    def _list(self, reference: hx.ListReference, block: int) -> int | None:
        """The list that a reference means in its block; None where it has no values."""
        key = (reference.list_name, block)
        if key not in self._list_of:
            self._list_of[key] = self._find_list(reference, block)
        found = self._list_of[key]
        return None if found == _NO_VALUES else found

    def _find_list(self, reference: hx.ListReference, block: int) -> int:
        data = self.blocks[block].data
        local = data.slot_lists if data is not None else {}
        named = local.get(reference.list_name) or self._named_lists.get(reference.list_name)
        if named is None and reference.is_inline_range:
            first, last, step = reference.get_inline_range() or (0, 0, 1)
            named = RangeSlotList(name=None, start=first, stop=last, step=step)
        if isinstance(named, WildcardSlotList):
            return _ANYTHING
        if isinstance(named, RangeSlotList):
            shape = (named.start, named.stop, named.step, str(named.fraction_type))
            return self._registered(
                ("range", *shape), lambda: spoken_numbers(named.get_numbers(), self.language)
            )
        if isinstance(named, TextSlotList):
            return self._filtered(named, data, block)
        return _NO_VALUES

    def _filtered(self, named: TextSlotList, data: IntentData | None, block: int) -> int:
        """Values whose context a block of templates allows."""
        number = self._number(named)
        kinds = self._kinds.get(number)
        if kinds is None:
            kinds = self._kinds[number] = _by_context(named)
        allowed = frozenset(key for key, (context, _) in kinds.items() if _fits(context, data))

        def values() -> Iterator[Value]:
            for key in sorted(allowed):
                for value in kinds[key][1]:
                    yield from self._forms(value, block)

        return self._registered(("text", number, allowed), values)

    def _registered(self, key: object, values: Callable[[], Iterable[Value]]) -> int:
        if key not in self._values:
            found = tuple(dict.fromkeys(values()))
            if found:
                self.lists.append(found)
            self._values[key] = len(self.lists) - 1 if found else _NO_VALUES
        return self._values[key]

    def _forms(self, value: Any, block: int) -> Iterator[Value]:
        context = value.context or {}
        domain = context.get("domain", "") if isinstance(context, dict) else ""
        written = (value.metadata or {}).get("written", "")
        for text in self._texts(value.text_in, block):
            words = tuple(text.split())
            if words:
                out = str(value.value_out)
                yield Value(words, written or " ".join(words), out, str(domain))

    def _texts(self, item: Expression, block: int) -> list[str]:
        """All ways to say an expression without wildcards, `MAX_FORMS` at most."""
        if isinstance(item, hx.TextChunk):
            return [item.original_text]
        if isinstance(item, hx.Alternative):
            return [t for part in item.items for t in self._texts(part, block)][:MAX_FORMS]
        if isinstance(item, hx.RuleReference):
            rule = self._rule(item, block)
            return [] if rule is None else self._texts(rule, block)
        if not isinstance(item, hx.Group):
            return []
        found = [""]
        for part in item.items:
            tails = self._texts(part, block)
            found = [head + tail for head in found for tail in tails][:MAX_FORMS]
        return found


_ANYTHING = -1
_NO_VALUES = -2


class _State(NamedTuple):
    """A way that has not read a whole word yet."""

    text: str
    """Letters of the word, or behind a list's value."""
    over: ListArc | None
    """The list that the word is of."""
    at: Position

    @property
    def fresh(self) -> bool:
        """True before the word's first letter."""
        return not self.text and self.over is None


class _Found:
    """The result of an expansion, in order."""

    def __init__(self) -> None:
        self.words: dict[tuple[str, Position], None] = {}
        self.lists: dict[tuple[ListArc, Position], None] = {}
        self.anything: dict[Position, None] = {}
        self.block = -1

    def end_word(self, state: _State, after: Position, text: str) -> None:
        """Note a word, or a value with what stands around it; nothing where none was begun."""
        if state.over is not None:
            self.lists[state.over._replace(suffix=text), after] = None
        elif text:
            self.words[text, after] = None


def _by_context(named: TextSlotList) -> dict[str, tuple[Any, list[Any]]]:
    """A list's values by what templates may ask of them."""
    kinds: dict[str, tuple[Any, list[Any]]] = {}
    for value in named.values:
        key = json.dumps(value.context, sort_keys=True) if value.context else ""
        kinds.setdefault(key, (value.context, []))[1].append(value)
    return kinds


class _TooManyStatesError(Exception):
    """A template that cannot be walked."""


def _fits(context: Any, data: IntentData | None) -> bool:
    if data is None:
        return True
    context = context or {}
    required, excluded = data.requires_context, data.excludes_context
    if required and not check_required_context(required, context, allow_missing_keys=True):
        return False
    return not (excluded and not check_excluded_context(excluded, context))
