"""Sentence templates: Home Assistant's for a language, a document's own, and a home's names."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from voice_daemon.asr.cooperative import Steps
from voice_daemon.vocabulary.document import Document, Name, VocabularyError
from voice_daemon.vocabulary.spoken import compound_ends, join_compounds, said_apart

try:
    import hassil
    from hassil.expression import Expression
    from hassil.intents import IntentData, TextSlotList
except ImportError:  # pragma: no cover - the extra is there wherever this is tested
    pass

OWN = "own"
"""The intent of a sentence that the document brings."""
_ELSEWHERE = {"no": "nb"}
"""Languages that Home Assistant has another code for than Whisper."""
SPACELESS = frozenset({"zh", "ja", "th", "lo", "my", "km", "yue"})
"""Languages written without spaces, where there are no words to walk."""
NO_COMMANDS = frozenset({"HassRespond"})
"""Greetings: the commonest wrong winners on other speech, and nothing is done for them."""


@dataclass(frozen=True, slots=True)
class Block:
    """Templates that mean the same."""

    intent: str
    sentence: int
    """Number of the own sentence; -1 for a block of Home Assistant's."""
    domains: frozenset[str]
    data: IntentData | None = None


@dataclass(slots=True)
class Templates:
    """The templates of one language, parsed by hassil."""

    blocks: list[Block]
    starts: list[tuple[Expression, int]]
    lists: dict[str, Any]
    rules: Mapping[str, Any]
    skipped: tuple[str, ...]
    n_unread: int = 0


def installed() -> bool:
    """True where the extra that has the sentences is there."""
    return all(find_spec(name) for name in ("hassil", "home_assistant_intents"))


def languages() -> frozenset[str]:
    """Languages that there are sentences for; none without the extra."""
    folder = _folder()
    if folder is None:
        return frozenset()
    found = {entry.name.removesuffix(".json") for entry in folder.iterdir()}
    return frozenset(code for code in found if code.split("-")[0] not in SPACELESS)


def _folder() -> Any:
    if not installed():
        return None
    return importlib.resources.files("home_assistant_intents") / "data"


def reading_templates(
    document: Document, language: str, *, home_sentences: bool
) -> Steps[Templates]:
    """Parse what may be said in a home, in steps.

    Raises VocabularyError where the extra is missing or the language has no sentences.
    """
    if not installed():
        raise VocabularyError(
            "vocabulary.not_installed",
            "the home's sentences need hassil",
            remedy="install the extra: pip install 'voice-daemon[home]'",
        )
    templates = Templates([], [], {}, {}, ())
    if home_sentences:
        yield from _reading_home_sentences(templates, language)
    names = yield from _names(document, language)
    for name, entries in names.items():
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


def _reading_home_sentences(templates: Templates, language: str) -> Steps[None]:
    folder = _folder()
    code = closest_language(language)
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


def closest_language(language: str) -> str | None:
    """The package's code for a language, without its region where that has none."""
    known = {code.lower().replace("_", "-"): code for code in languages()}
    wanted = language.lower().replace("_", "-")
    code = primary_code(wanted)
    return known.get(wanted) or known.get(code) or known.get(_ELSEWHERE.get(code, code))


def primary_code(language: str) -> str:
    """Whisper's code for a language, without its region."""
    code = language.lower().replace("_", "-").split("-")[0]
    return next((own for own, other in _ELSEWHERE.items() if other == code), code)


def _domains(data: IntentData) -> frozenset[str]:
    """Kinds of entities that a block acts upon."""
    found: set[str] = set()
    for source in (data.slots, data.requires_context):
        domain = source.get("domain", ())
        if isinstance(domain, dict):
            domain = domain.get("value", ())
        found.update([domain] if isinstance(domain, str) else domain)
    return frozenset(found)


def _names(document: Document, language: str) -> Steps[dict[str, list[Any]]]:
    """The lists that Home Assistant fills with what a home has."""
    every = (*document.entities, *document.areas, *document.floors)
    ends = compound_ends((name.text for name in every), language)
    lists: dict[str, list[Any]] = {"name": [], "area": [], "floor": []}
    places = (document.entities, document.areas, document.floors)
    for (_, entries), names in zip(lists.items(), places, strict=True):
        for at, name in enumerate(names):
            if at % 64 == 63:
                yield
            context = {"domain": name.domain} if name.domain else {}
            for said, written in _spoken(name, ends).items():
                entries.append((said, name.text, context, {"written": written}))
    return lists


def _spoken(name: Name, ends: frozenset[str]) -> dict[str, str]:
    """The ways to say a name, and what is written for it."""
    found = {text: text for text in (name.text, *name.aliases)}
    for text in list(found):
        # Letters and digits say a name; signs between them do not.
        for said in (*said_apart(text), *join_compounds(text, ends)):
            found.setdefault(said, text)
    for spelling in name.spellings:
        found.setdefault(spelling, name.text)
    return found
