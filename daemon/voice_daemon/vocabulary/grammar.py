"""The sentences that a home understands, as an automaton over words that is made as it is walked.

A position is a hash-consed list of what is still to be said (partial derivatives, Antimirov
1996), so that nothing is expanded before somebody comes to it: Home Assistant's English
templates stand for some 10^11 sentences. Knows nothing of tokens or of models. The only
importer of hassil, whose parsed templates it walks.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from voice_daemon.vocabulary.document import VocabularyError
from voice_daemon.vocabulary.numbers import spoken_numbers
from voice_daemon.vocabulary.spoken import join_compounds, said_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hassil.expression import Expression
    from hassil.intents import IntentData

    from voice_daemon.asr.steps import Steps
    from voice_daemon.vocabulary.document import Document, Name

try:
    import hassil
    from hassil import expression as hx
    from hassil.intents import RangeSlotList, TextSlotList, WildcardSlotList
    from hassil.util import check_excluded_context, check_required_context
except ImportError:  # pragma: no cover - the extra is there wherever this is tested
    hassil = None  # type: ignore[assignment]

OWN = "own"
"""The intent of a sentence that the document brings."""
MAX_STATES = 20_000
"""States of one word's expansion; a template that needs more is left out."""
MAX_FORMS = 64
"""Ways to say one value of a list."""
SPACELESS = frozenset({"zh", "ja", "th", "lo", "my", "km", "yue"})
"""Languages written without spaces, where there are no words to walk."""
NO_COMMANDS = frozenset({"HassRespond"})
"""Greetings: the commonest wrong winners on other speech, and nothing is done for them."""

Position = int
START: Position = 0


class Value(NamedTuple):
    """One way to say an entry of a list."""

    words: tuple[str, ...]
    written: str
    """How the home spells it."""
    meaning: str
    domain: str = ""


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
    """What may follow a position."""

    words: tuple[tuple[str, Position], ...] = ()
    lists: tuple[tuple[ListArc, Position], ...] = ()
    anything: tuple[Position, ...] = ()
    """Positions behind a wildcard."""
    block: int = -1
    """The block of templates that is complete here; -1 where nothing is."""


@dataclass(frozen=True, slots=True)
class Block:
    """Templates that mean the same."""

    intent: str
    sentence: int
    """Number of the own sentence; -1 for a block of Home Assistant's."""
    domains: frozenset[str]
    data: IntentData | None = None


@dataclass(slots=True)
class _Templates:
    """What hassil parsed for one language."""

    blocks: list[Block]
    starts: list[tuple[Expression, int]]
    lists: dict[str, Any]
    rules: Mapping[str, Any]
    skipped: tuple[str, ...]
    n_unread: int = 0


def languages() -> frozenset[str]:
    """Languages that there are sentences for; none without the extra."""
    folder = _folder()
    if folder is None:
        return frozenset()
    found = {entry.name.removesuffix(".json") for entry in folder.iterdir()}
    return frozenset(code for code in found if code.split("-")[0] not in SPACELESS)


def _folder() -> Any:  # noqa: ANN401 - importlib's Traversable
    if hassil is None:
        return None
    try:
        return importlib.resources.files("home_assistant_intents") / "data"
    except ModuleNotFoundError:
        return None


class SentenceGrammar:
    """Positions and what may follow them; grows as it is walked."""

    def __init__(self, templates: _Templates, language: str) -> None:
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
        self.lists: list[tuple[Value, ...]] = []

    @classmethod
    def building(
        cls, document: Document, language: str, *, home_sentences: bool = True
    ) -> Steps[SentenceGrammar]:
        """Make the grammar of a home in steps, its start already walked.

        Raises VocabularyError where the extra is missing or the language has no sentences.
        """
        if hassil is None:
            raise VocabularyError(
                "vocabulary.not_installed",
                "the home's sentences need hassil",
                remedy="install the extra: pip install 'voice-daemon[home]'",
            )
        templates = yield from _reading_templates(document, language, home_sentences)
        grammar = cls(templates, language)
        yield from grammar._opening()
        return grammar

    def arcs(self, position: Position) -> Arcs:
        """What may follow a position; computed once."""
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
            self._kept.append(item)
        return number

    def _explore(self, position: Position) -> Arcs:
        """Expand until every way has read one word."""
        words: dict[tuple[str, Position], None] = {}
        lists: dict[tuple[ListArc, Position], None] = {}
        anything: dict[Position, None] = {}
        complete = -1
        seen: set[tuple[str, ListArc | None, Position]] = set()
        stack: list[tuple[str, ListArc | None, Position]] = [("", None, position)]
        while stack:
            state = stack.pop()
            if state in seen:
                continue
            seen.add(state)
            if len(seen) > MAX_STATES:
                raise _TooManyStatesError
            text, over, at = state
            item, block, rest = self._cells[at]
            if item is None or (item == "" and rest == START):
                if over:
                    lists[over._replace(suffix=text), at] = None
                elif text:
                    words[text, at] = None
                elif block >= 0:
                    complete = block
            elif isinstance(item, str):
                # Before a word spaces mean nothing; behind one they end it.
                chunk = item if text or over else item.lstrip()
                head, space, tail = chunk.partition(" ")
                after = self._cons(tail, block, rest) if tail.strip() else rest
                if not space:
                    stack.append((text + head, over, rest))
                elif over:
                    lists[over._replace(suffix=text + head), after] = None
                elif text + head:
                    words[text + head, after] = None
                else:
                    stack.append(("", None, after))
            elif isinstance(item, hx.ListReference):
                list_id = self._list(item, block)
                if list_id == _ANYTHING:
                    anything[rest] = None
                elif list_id is not None and over is None:
                    stack.append(("", ListArc(list_id, text, "", item.slot_name), rest))
            else:
                stack += [(text, over, after) for after in self._expand(item, block, rest)]
        if complete >= 0:
            polite = list(self._polite(self._cons(None, complete, START)))
            words.update(dict.fromkeys(polite))
            # A recogniser puts a comma there, which nobody says.
            words.update(dict.fromkeys((f",{word}", after) for word, after in polite))
        return Arcs(tuple(words), tuple(lists), tuple(anything), complete)

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
            found = depth < 24 and self._lives(item, block, depth + 1)  # noqa: PLR2004
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
        contexts = {json.dumps(v.context, sort_keys=True): v.context for v in named.values}
        allowed = frozenset(key for key, context in contexts.items() if _fits(context, data))

        def values() -> Iterator[Value]:
            for value in named.values:
                if json.dumps(value.context, sort_keys=True) in allowed:
                    yield from self._forms(value, block)

        return self._registered(("text", self._number(named), allowed), values)

    def _registered(self, key: object, values: Any) -> int:  # noqa: ANN401 - a callable
        if key not in self._values:
            found = tuple(dict.fromkeys(values()))
            if found:
                self.lists.append(found)
            self._values[key] = len(self.lists) - 1 if found else _NO_VALUES
        return self._values[key]

    def _forms(self, value: Any, block: int) -> Iterator[Value]:  # noqa: ANN401 - hassil's
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


class _TooManyStatesError(Exception):
    """A template that cannot be walked."""


def _fits(context: Any, data: IntentData | None) -> bool:  # noqa: ANN401 - of a document or hassil
    if data is None:
        return True
    context = context or {}
    required, excluded = data.requires_context, data.excludes_context
    if required and not check_required_context(required, context, allow_missing_keys=True):
        return False
    return not (excluded and not check_excluded_context(excluded, context))


def _reading_templates(
    document: Document, language: str, home_sentences: bool
) -> Steps[_Templates]:
    templates = _Templates([], [], {}, {}, ())
    if home_sentences:
        yield from _reading_home_sentences(templates, language)
    for name, entries in _names(document, language).items():
        templates.lists[name] = TextSlotList.from_tuples(entries, allow_template=False, name=name)
    yield
    for name, values in document.lists.items():
        templates.lists[name] = TextSlotList.from_strings(values, allow_template=False, name=name)
    for at, sentence in enumerate(document.sentences):
        block = len(templates.blocks)
        try:
            parsed = hassil.parse_sentence(sentence)
        except Exception:  # noqa: BLE001 - hassil raises what its parser came to
            templates.n_unread += 1
            continue
        templates.blocks.append(Block(OWN, at, frozenset()))
        templates.starts.append((parsed.expression, block))
    return templates


def _reading_home_sentences(templates: _Templates, language: str) -> Steps[None]:
    folder = _folder()
    code = _closest(language)
    if folder is None or code is None:
        raise VocabularyError(
            "vocabulary.no_sentences",
            f"there are no sentences for language {language!r}",
            remedy='choose another language, or set sentences = "none" in [vocabulary]',
        )
    raw = json.loads((folder / f"{code}.json").read_text(encoding="utf-8"))
    yield
    intents = raw.pop("intents")
    shell = hassil.Intents.from_dict({**raw, "intents": {}})
    templates.lists = dict(shell.slot_lists)
    templates.rules = shell.expansion_rules
    templates.skipped = tuple(shell.skip_words)
    for intent, body in intents.items():
        if intent in NO_COMMANDS:
            continue
        yield
        one = hassil.Intents.from_dict({"language": code, "intents": {intent: body}})
        for data in one.intents[intent].data:
            yield
            number = len(templates.blocks)
            read = []
            for text in data.sentence_texts:
                try:
                    read.append((hassil.parse_sentence(text).expression, number))
                except Exception:  # noqa: BLE001 - one odd template must not cost the rest
                    templates.n_unread += 1
            templates.blocks.append(Block(intent, -1, _domains(data), data))
            templates.starts += read


def _closest(language: str) -> str | None:
    """The package's code for a language, without its region where that has none."""
    known = {code.lower().replace("_", "-"): code for code in languages()}
    wanted = language.lower().replace("_", "-")
    return known.get(wanted) or known.get(wanted.split("-")[0])


def _domains(data: IntentData) -> frozenset[str]:
    """Kinds of entities that a block acts upon."""
    found: set[str] = set()
    for source in (data.slots, data.requires_context):
        domain = source.get("domain", ())
        if isinstance(domain, dict):
            domain = domain.get("value", ())
        found.update([domain] if isinstance(domain, str) else domain)
    return frozenset(found)


def _names(document: Document, language: str) -> dict[str, list[Any]]:
    """The lists that Home Assistant fills with what a home has."""
    every = (*document.entities, *document.areas, *document.floors)
    lists: dict[str, list[Any]] = {"name": [], "area": [], "floor": []}
    places = (document.entities, document.areas, document.floors)
    for (_, entries), names in zip(lists.items(), places, strict=True):
        for name in names:
            context = {"domain": name.domain} if name.domain else {}
            for said, written in _spoken(name, every, language):
                # Letters and digits say a name; signs between them do not.
                entries.append((said, name.text, context, {"written": written}))
    return lists


def _spoken(name: Name, every: Sequence[Name], language: str) -> Iterable[tuple[str, str]]:
    """How a name may be said, and what is written for it."""
    found = {text: text for text in (name.text, *name.aliases)}
    for text in list(found):
        for said in said_apart(text):
            found.setdefault(said, text)
        for split in join_compounds(text, (other.text for other in every), language):
            found.setdefault(split, text)
    for spelling in name.spellings:
        found.setdefault(spelling, name.text)
    return found.items()
