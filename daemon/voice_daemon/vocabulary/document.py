"""The vocabulary document: names of a home, and sentences of its own.

A fault of one entry leaves that entry out. Messages name places in the document and never what
stands there, so that they may be logged: names of rooms and people are private.
"""

import hashlib
import json
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any

from voice_daemon._lib.files import decode_text
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.vocabulary.document_warnings import (
    DocumentWarning,
    Entry,
    closest_domain,
    warnings_about,
)

SCHEMA = 1
MAX_BYTES = 64 * 1024
MAX_DEPTH = 6
MAX_NAMES = 1000
"""Names of entities, their aliases and spellings together."""
MAX_AREAS = 100
MAX_FLOORS = 20
MAX_LISTS = 20
MAX_VALUES = 500
MAX_SENTENCES = 200
MAX_SENTENCE_CHARACTERS = 200
MAX_NESTING = 6
MAX_NAME_CHARACTERS = 64
MAX_NAME_WORDS = 8
MAX_FAULTS_KEPT = 20

_KEYS = {"schema", "language", "entities", "areas", "floors", "lists", "sentences"}
_NAME_KEYS = {"name", "domain", "aliases", "spellings"}
MAX_PERMUTED = 4
_TEMPLATE_SIGNS = frozenset("()[]{}<>|;@\\")


class VocabularyError(VoiceDaemonError):
    """A vocabulary document that cannot be used, or one that cannot be had."""


@dataclass(frozen=True, slots=True)
class Name:
    """A thing of the home and what it is called."""

    text: str
    aliases: tuple[str, ...] = ()
    """Other names that Home Assistant understands as well."""
    spellings: tuple[str, ...] = ()
    """How a recogniser may write the name; never shown, `text` is."""
    domain: str = ""
    """Home Assistant's kind of entity, such as "light"; "" where it is not known."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An entry of a document that was left out."""

    where: str
    """Its place, such as "entities[3].name"."""
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Document:
    """The known names and sentences of a home."""

    language: str = ""
    """A language code; "" for the one that is listened for."""
    entities: tuple[Name, ...] = ()
    areas: tuple[Name, ...] = ()
    floors: tuple[Name, ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    """Templates of Home Assistant's kind: (a|b), [optional], {list}."""
    faults: tuple[Fault, ...] = ()
    """The first `MAX_FAULTS_KEPT` of what was left out."""
    n_left_out: int = 0
    warnings: tuple[DocumentWarning, ...] = ()
    """The first `MAX_FAULTS_KEPT` of what is well formed and hardly meant; nothing of it is left
    out."""
    sha256: str = ""
    """Of the bytes that it was read from."""

    @property
    def n_names(self) -> int:
        """Things that have a name."""
        return len(self.entities) + len(self.areas) + len(self.floors)

    @property
    def empty(self) -> bool:
        """True when it says nothing."""
        return not (self.n_names or self.lists or self.sentences)


def read_document(payload: bytes, *, toml: bool = False) -> Document:
    """Read a document in JSON, or in TOML.

    Raises VocabularyError with code `vocabulary.bad_document` when it cannot be used at all.
    """
    if len(payload) > MAX_BYTES:
        raise _bad(
            f"the document has {len(payload)} bytes",
            f"keep it within {MAX_BYTES} bytes: leave out what nobody says",
        )
    try:
        text = decode_text(payload)
    except UnicodeDecodeError as error:
        raise _bad(f"byte {error.start} is not UTF-8", "save it as UTF-8") from None
    if not text.strip():
        raise _bad("it is empty", 'write names: {"schema": 1, "entities": ["Bed Light"]}')
    top = _toml(text) if toml else _json(text)
    if _depth(top) > MAX_DEPTH:
        raise _bad(f"it is nested deeper than {MAX_DEPTH} levels", "keep to the documented form")
    if not isinstance(top, dict):
        raise _bad(f"it is a {_kind(top)}", 'write an object: {"schema": 1, "entities": [...]}')
    _check_head(top)
    return _Reader(top).document(hashlib.sha256(payload).hexdigest())


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _bad(f"{where}: {error.msg}", "write JSON; a checker finds the place") from None
    except (ValueError, RecursionError):
        raise _bad("it holds what JSON does not have", "write plain JSON") from None


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        # The message may quote what stands there, all but the place.
        place = str(error).rpartition("(")[2].rstrip(")")
        raise _bad(
            f"it is not TOML ({place[:40]})", "write TOML; a checker finds the place"
        ) from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _bounded_int(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(digits[:18])
    return int(digits)


def _check_head(top: Mapping[str, Any]) -> None:
    schema = top.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        shown = schema if isinstance(schema, int) else f"a {_kind(schema)}"
        said = "schema is missing" if schema is None else f"schema is {shown}"
        raise _bad(said, f"this version reads schema {SCHEMA}")
    if "language" in top and not _is_code(top["language"]):
        raise _bad(
            f"language is {_kind(top['language'])!s}, not a code",
            'write a language code such as "en", or leave it out',
        )
    for key in ("entities", "areas", "floors", "sentences"):
        if not isinstance(top.get(key, []), list):
            raise _bad(f"{key} is a {_kind(top[key])}", "write a list")
    if not isinstance(top.get("lists", {}), dict):
        raise _bad(f"lists is a {_kind(top['lists'])}", 'write an object: {"list": ["value"]}')


def _is_code(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 12:
        return False
    letters = value.replace("-", "").replace("_", "")
    return letters.isascii() and letters.isalnum()  # it becomes part of a file's name


class _Reader:
    """Reads the entries one after another and keeps count of what is left out."""

    def __init__(self, top: Mapping[str, Any]) -> None:
        self._top = top
        self._faults: list[Fault] = []
        self._n_left_out = 0
        self._room = 0
        self._entries: list[Entry] = []
        self._list_places: dict[str, tuple[str, ...]] = {}

    def document(self, sha256: str) -> Document:
        self._check_keys("a key", self._top, _KEYS)
        lists = self._lists()
        entities = self._names("entities", MAX_NAMES)
        areas = self._names("areas", MAX_AREAS)
        floors = self._names("floors", MAX_FLOORS)
        language = str(self._top.get("language", ""))
        warnings = warnings_about(language, self._entries, self._list_places)
        return Document(
            language=language,
            entities=entities,
            areas=areas,
            floors=floors,
            lists=lists,
            sentences=tuple(self._sentences(lists)),
            faults=tuple(self._faults),
            n_left_out=self._n_left_out,
            warnings=tuple(islice(warnings, MAX_FAULTS_KEPT)),
            sha256=sha256,
        )

    def _check_keys(self, where: str, entry: Mapping[str, Any], known: Collection[str]) -> None:
        for key in (key for key in entry if key not in known):
            meant = get_close_matches(key[:40], sorted(known), n=1)
            remedy = f"write {meant[0]}" if meant else f"known are {', '.join(sorted(known))}"
            self._leave_out(where, "is not known", remedy)

    def _leave_out(self, where: str, what: str, remedy: str, *, n: int = 1) -> None:
        self._n_left_out += n
        if len(self._faults) < MAX_FAULTS_KEPT:
            self._faults.append(Fault(where, what, remedy))

    def _names(self, key: str, room: int) -> tuple[Name, ...]:
        self._room = room
        found: dict[tuple[str, str], Name] = {}
        for at, entry in enumerate(self._top.get(key, [])):
            where = f"{key}[{at}]"
            if self._room <= 0:
                left = len(self._top[key]) - at
                self._leave_out(where, f"more than {room} names", "leave some out", n=left)
                break
            name = self._name(entry, where, key)
            if name and (name.text.casefold(), name.domain) not in found:
                found[name.text.casefold(), name.domain] = name
        return tuple(found.values())

    def _name(self, entry: object, where: str, key: str) -> Name | None:
        if isinstance(entry, str):
            entry = {"name": entry}
        if not isinstance(entry, dict):
            self._leave_out(where, f"is a {_kind(entry)}", 'write a name, or {"name": "..."}')
            return None
        text = self._text(entry.get("name"), f"{where}.name")
        if text is None:
            return None
        self._check_keys(f"a key of {where}", entry, _NAME_KEYS)
        domain = self._domain(entry.get("domain", ""), f"{where}.domain")
        self._room -= 1
        aliases = self._others(entry.get("aliases", []), f"{where}.aliases")
        spellings = self._others(entry.get("spellings", []), f"{where}.spellings")
        self._entries.append(Entry(where, key, domain, (text, *aliases, *spellings)))
        return Name(text, aliases, spellings, domain if key == "entities" else "")

    def _domain(self, value: object, where: str) -> str:
        """A kind of entity; "" where it is none."""
        if isinstance(value, str) and (not value or value.replace("_", "a").isalnum()):
            return value[:32].lower()
        meant = (closest_domain(value) if isinstance(value, str) else None) or "light"
        self._leave_out(where, "is not a domain", f'write one such as "{meant}"')
        return ""

    def _others(self, values: object, where: str) -> tuple[str, ...]:
        if not isinstance(values, list):
            self._leave_out(where, f"is a {_kind(values)}", "write a list of names")
            return ()
        found: dict[str, None] = {}
        for at, value in enumerate(values):
            if self._room <= 0:
                self._leave_out(f"{where}[{at}]", "too many names", "leave some out")
                break
            text = self._text(value, f"{where}[{at}]")
            if text is not None:
                found[text] = None
                self._room -= 1
        return tuple(found)

    def _text(self, value: object, where: str) -> str | None:
        """Normalise a name; None where it is none."""
        if not isinstance(value, str):
            self._leave_out(where, f"is a {_kind(value)}", "write a text")
            return None
        text = " ".join(unicodedata.normalize("NFC", value).replace("\u2019", "'").split())
        signs = _TEMPLATE_SIGNS.intersection(text)
        if any(unicodedata.category(sign)[0] == "C" for sign in text):
            self._leave_out(where, "holds control characters", "write letters and digits")
        elif not any(sign.isalnum() for sign in text):
            self._leave_out(where, "holds no letter and no digit", "write it as it is said")
        elif len(text) > MAX_NAME_CHARACTERS or len(text.split()) > MAX_NAME_WORDS:
            most = f"{MAX_NAME_CHARACTERS} characters and {MAX_NAME_WORDS} words"
            self._leave_out(where, "is too long to be said", f"keep to {most}")
        elif signs:
            self._leave_out(where, f"holds {' '.join(sorted(signs))}", "write it as it is said")
        else:
            return text
        return None

    def _lists(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for at, (key, values) in enumerate(self._top.get("lists", {}).items()):
            where = f"lists[{at}]"
            if len(found) >= MAX_LISTS:
                self._leave_out(where, f"more than {MAX_LISTS} lists", "leave some out")
            elif not (key.replace("_", "a").isalnum() and key.isascii() and len(key) <= 40):
                self._leave_out(where, "has a name with other signs", "use letters, digits and _")
            elif not isinstance(values, list):
                self._leave_out(where, f"is a {_kind(values)}", "write a list of texts")
            else:
                found[key] = self._list_places[where] = self._values(values, where)
        return found

    def _values(self, values: list[object], where: str) -> tuple[str, ...]:
        if len(values) > MAX_VALUES:
            left = len(values) - MAX_VALUES
            self._leave_out(where, f"more than {MAX_VALUES} values", "leave some out", n=left)
        texts = (self._text(v, f"{where}[{at}]") for at, v in enumerate(values[:MAX_VALUES]))
        return tuple(dict.fromkeys(text for text in texts if text is not None))

    def _sentences(self, lists: Mapping[str, object]) -> Iterable[str]:
        for at, value in enumerate(self._top.get("sentences", [])):
            where = f"sentences[{at}]"
            if at >= MAX_SENTENCES:
                left = len(self._top["sentences"]) - at
                self._leave_out(where, f"more than {MAX_SENTENCES}", "leave some out", n=left)
                return
            fault = sentence_fault(value, lists)
            if fault is None:
                yield " ".join(str(value).split())
            else:
                self._leave_out(where, *fault)


def sentence_fault(value: object, lists: Mapping[str, object]) -> tuple[str, str] | None:
    """Say what is wrong with a sentence template and what to do, or None."""
    if not isinstance(value, str):
        return f"is a {_kind(value)}", "write a text"
    used = {part.partition("}")[0].partition(":")[0] for part in value.split("{")[1:]}
    unclosed = _unclosed(value)
    checks = (
        (
            not 0 < len(value) <= MAX_SENTENCE_CHARACTERS,
            (f"has {len(value)} characters", f"write 1 to {MAX_SENTENCE_CHARACTERS}"),
        ),
        (
            any(unicodedata.category(sign)[0] == "C" for sign in value),
            ("holds control characters", "write letters and ( | ; ) [ ] { }"),
        ),
        (
            not set("<>@\\").isdisjoint(value),
            ("holds one of < > @ and \\", "only ( | ; ) [ ] { } have a meaning here"),
        ),
        (
            value.count(";") >= MAX_PERMUTED,
            (f"permutes more than {MAX_PERMUTED} parts", "write the orders that are said"),
        ),
        (unclosed is not None, (str(unclosed), "close every bracket, and nest few")),
        (
            not used <= {*lists, "name", "area", "floor"},
            ("uses a list that the document does not have", "add it to lists"),
        ),
    )
    return next((fault for wrong, fault in checks if wrong), None)


def _unclosed(template: str) -> str | None:
    closing = {"(": ")", "[": "]", "{": "}"}
    opened: list[str] = []
    for sign in template:
        if sign in closing:
            opened.append(closing[sign])
            if len(opened) > MAX_NESTING:
                return f"is nested deeper than {MAX_NESTING}"
        elif sign in ")]}" and (not opened or opened.pop() != sign):
            return f"has a {sign} too many"
    return f"lacks a {opened[-1]}" if opened else None


def _depth(value: object) -> int:
    """Levels of nesting, without recursion; deep ones are counted to `MAX_DEPTH` + 1."""
    level, n_levels = [value], 0
    while level and n_levels <= MAX_DEPTH:
        n_levels += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return n_levels


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return kinds.get(type(value), "number" if isinstance(value, (int, float)) else "value")


def _bad(what: str, remedy: str) -> VocabularyError:
    return VocabularyError("vocabulary.bad_document", what, remedy=remedy)
