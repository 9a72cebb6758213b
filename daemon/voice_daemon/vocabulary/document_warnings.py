"""Warnings about a document that is well formed: what it says can hardly be meant.

A warning leaves nothing out. Unlike a fault it names what stands in the document, so that it must
not be logged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from voice_daemon.events import LANGUAGES

MAX_SHOWN = 40
"""Characters of a value that are repeated."""

_DOMAINS = """
ai_task air_quality alarm_control_panel assist_satellite automation binary_sensor button
calendar camera climate conversation counter cover date datetime device_tracker event fan
geo_location group humidifier image image_processing input_boolean input_button input_datetime
input_number input_select input_text lawn_mower light lock media_player notify number person
plant remote scene schedule script select sensor siren stt sun switch text time timer todo tts
update vacuum valve wake_word water_heater weather zone
"""
DOMAINS = frozenset(_DOMAINS.split())
"""Home Assistant's kinds of entities."""

_LANGUAGES = frozenset(LANGUAGES) | {"nb", "ga", "kw"}
"""Whisper's codes, and those of Home Assistant's sentences beside them."""
_CALLED = {
    called: code
    for code, names in {
        "de": "german deutsch deu ger",
        "en": "english eng",
        "es": "spanish espanol spa",
        "fr": "french francais fra fre",
        "it": "italian italiano ita",
        "nl": "dutch nederlands nld dut",
        "pl": "polish polski pol",
        "pt": "portuguese por",
        "sv": "swedish svenska swe",
    }.items()
    for called in names.split()
}


@dataclass(frozen=True, slots=True)
class DocumentWarning:
    """Something in a document that is hardly meant; the document counts all the same."""

    where: str
    """Its place, such as "entities[3].domain"."""
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class Entry(NamedTuple):
    """A name as it stands in a document."""

    where: str
    """Its place, such as "entities[3]"."""
    kind: str
    """The list that it is in: two lists may have a name in common."""
    domain: str
    said: tuple[str, ...]
    """All that it is called, the name first."""


def warnings_about(
    language: str, entries: Sequence[Entry], lists: Mapping[str, Sequence[str]]
) -> Iterator[DocumentWarning]:
    """Find what is hardly meant; `lists` are by their place."""
    yield from _language(language)
    yield from _domains(entries)
    yield from _same_names(entries)
    for where, values in lists.items():
        if not values:
            yield DocumentWarning(
                where, "has no value", "add one: no sentence with this list can be said"
            )


def closest_domain(domain: str) -> str | None:
    """The kind of entity that a word is likely meant to be."""
    written = "_".join(domain.lower().replace("-", " ").split())[:MAX_SHOWN]
    return next(iter(get_close_matches(written, sorted(DOMAINS), n=1)), None)


def _language(language: str) -> Iterator[DocumentWarning]:
    code = language.lower().replace("_", "-").split("-")[0]
    if not language or code in _LANGUAGES:
        return
    meant = _CALLED.get(code)
    remedy = f'write "{meant}"' if meant else 'write a code such as "en" or "de-CH"'
    yield DocumentWarning("language", f'"{language}" is not a known language', remedy)


def _domains(entries: Iterable[Entry]) -> Iterator[DocumentWarning]:
    for entry in entries:
        where, domain = f"{entry.where}.domain", entry.domain
        if not domain:
            continue
        if entry.kind != "entities":
            what = f'"{domain}" is the kind of an area or a floor, which has none'
            yield DocumentWarning(where, what, "leave it out, or write the name under entities")
        elif domain not in DOMAINS:
            meant = closest_domain(domain)
            remedy = f'write "{meant}"' if meant else "sentences for a kind do not name it"
            what = f'"{domain}" is not a kind of entity that Home Assistant has'
            yield DocumentWarning(where, what, remedy)


def _same_names(entries: Iterable[Entry]) -> Iterator[DocumentWarning]:
    """Two of one kind with one name: nobody can tell which is meant."""
    first: dict[tuple[str, str, str], str] = {}
    for entry in entries:
        for text in entry.said:
            of = first.setdefault((entry.kind, entry.domain, text.casefold()), entry.where)
            if of != entry.where:
                what = f'"{text}" is also the name of {of}'
                yield DocumentWarning(entry.where, what, "call one of them something else")
                break
