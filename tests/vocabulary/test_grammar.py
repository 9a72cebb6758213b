"""The grammar says what Home Assistant's own parser says, and no more."""

from __future__ import annotations

import importlib.resources
import json
import random
from typing import Any

import hassil
import pytest
from hassil.intents import TextSlotList

from voice_daemon.asr.cooperative import at_once
from voice_daemon.events import Ending
from voice_daemon.vocabulary.document import Document, read_document
from voice_daemon.vocabulary.grammar import START, Position, SentenceGrammar
from voice_daemon.vocabulary.reading import Reader, respelled, same_meaning
from voice_daemon.vocabulary.templates import OWN, closest_language, languages, primary_code


def walked(grammar: SentenceGrammar, chance: random.Random) -> str | None:
    """A sentence of the grammar by a random walk; None where it grew too long."""
    said: list[str] = []
    at: Position = START
    while len(said) < 20:
        arcs = grammar.arcs(at)
        if arcs.block >= 0 and (chance.random() < 0.5 or not (arcs.words or arcs.lists)):
            return " ".join(said)
        ways: list[tuple[str, Position]] = [
            (word, after) for word, after in arcs.words if not word.startswith(",")
        ]
        for arc, after in arcs.lists:
            value = chance.choice(grammar.lists[arc.list_id])
            ways.append((f"{arc.prefix}{' '.join(value.words)}{arc.suffix}", after))
        if not ways:
            return None
        word, at = chance.choice(ways)
        said.append(word)
    return None


class HomeAssistant:
    """hassil with a home's names, as Home Assistant uses it."""

    def __init__(self, document: Document, language: str) -> None:
        folder = importlib.resources.files("home_assistant_intents") / "data"
        raw = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
        self.intents = hassil.Intents.from_dict(raw)
        self.language = language
        names: list[Any] = [
            (said, name.text, {"domain": name.domain})
            for name in document.entities
            for said in (name.text, *name.aliases)
        ]
        plain = {"area": document.areas, "floor": document.floors}
        self.lists: dict[str, Any] = {
            "name": TextSlotList.from_tuples(names, allow_template=False, name="name"),
            **{
                key: TextSlotList.from_strings(
                    [name.text for name in found], allow_template=False, name=key
                )
                for key, found in plain.items()
            },
        }

    def understands(self, text: str) -> set[str]:
        found = hassil.recognize_all(
            text,
            self.intents,
            slot_lists=self.lists,
            skip_words=self.intents.skip_words,
            intent_context={"area": "Kitchen"},
            language=self.language,
        )
        return {result.intent.name for result in found}


def test_what_a_random_walk_says_home_assistant_understands_as_the_same(home: Document) -> None:
    plain = Document(entities=home.entities, areas=home.areas, floors=home.floors)
    grammar = at_once(SentenceGrammar.building(plain, "en"))
    reader, assistant, chance = Reader(grammar), HomeAssistant(plain, "en"), random.Random(7)  # noqa: S311 - no secret
    sentences = [text for _ in range(260) if (text := walked(grammar, chance))]
    sentences = [text for text in sentences if "equal bee" not in text and "Eco Bee" not in text]
    assert len(sentences) > 120
    strange = [
        text
        for text in sentences
        if not assistant.understands(text) & {r.meaning.intent for r in reader.read(text)}
    ]
    assert len(strange) <= len(sentences) // 50, strange


@pytest.mark.parametrize(
    "sentence",
    [
        "turn on the bed light",
        "Turn the night lamp off.",
        "set Bed Light brightness to 75 percent",
        "set the standing light to 50%",
        "open the garage door",
        "is the front door locked",
        "what's the temperature in the kitchen?",
        "set a timer for twenty-five minutes",
        "set a timer for 4 and a half hours",
        "add oat milk to my shopping list",
        "turn off all of the lights in the office",
        "Could you turn on the TV, please?",
        "activate mood lighting",
    ],
)
def test_a_home_sentence_is_read_as_home_assistant_reads_it(
    sentence: str, reader: Reader, home: Document
) -> None:
    intents = {reading.meaning.intent for reading in reader.read(sentence)}
    assert intents & HomeAssistant(home, "en").understands(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "hello there",
        "turn on the shed light",
        "lock the bed light",
        "turn on the bed light and the",
        "five minutes",
        "",
        "the",
    ],
)
def test_what_is_no_sentence_of_the_home_is_not_read(sentence: str, reader: Reader) -> None:
    assert reader.read(sentence) == ()


def test_own_sentences_stand_beside_home_assistants(reader: Reader) -> None:
    (reading,) = reader.read("Start the beatles, now!")
    assert reading.meaning.intent == OWN
    assert ("artist", "The Beatles") in reading.meaning.slots
    for text in ("a latte please for me", "please iced mocha for me", "Water the roses."):
        assert reader.read(text), text


def test_own_sentences_alone_are_a_grammar_too(home: Document) -> None:
    grammar = at_once(SentenceGrammar.building(home, "tlh", home_sentences=False))
    reader = Reader(grammar)
    assert reader.read("water the roses")
    assert not reader.read("turn on the bed light")


def test_aliases_mean_the_same_thing(reader: Reader) -> None:
    by_name, by_alias = reader.read("turn on bed light"), reader.read("switch on the night lamp")
    assert same_meaning(by_name, by_alias, frozenset())
    assert not same_meaning(by_name, reader.read("turn off bed light"), frozenset())
    assert not same_meaning(by_name, reader.read("turn on the TV"), frozenset())


def test_sentences_tell_which_kind_of_thing_they_act_upon(reader: Reader) -> None:
    assert all("lock" in reading.domains for reading in reader.read("unlock the front door"))
    assert all("lock" in reading.domains for reading in reader.read("lock all the doors"))
    assert not any("lock" in reading.domains for reading in reader.read("open the garage door"))


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("What's the temperature of the equal bee?", "What's the temperature of the EcoBee?"),
        ("What's the temperature of the eco bee?", "What's the temperature of the EcoBee?"),
        ("Turn on the Bed-Light.", "Turn on the Bed Light."),
        ("turn on bed light", "turn on bed light"),
        ("Set bed light to 50%.", "Set bed light to 50%."),
    ],
)
def test_names_are_written_as_the_home_spells_them(
    heard: str, written: str, reader: Reader
) -> None:
    readings = reader.read(heard)
    assert readings
    assert respelled(heard, readings[0]) == written


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "nl", "it", "pt-BR", "sv", "pl"])
def test_a_home_has_a_grammar_in_its_language(language: str, home: Document) -> None:
    grammar = at_once(SentenceGrammar.building(home, language))
    assert len(grammar.arcs(START).words) > 50
    assert grammar.n_unread == 0


@pytest.mark.parametrize(
    ("language", "sentence", "slot"),
    [
        ("de", "schalte die Stehlampe an", ("name", "Stehlampe")),
        ("de", "Schalte die Steh Lampe an.", ("name", "Stehlampe")),
        ("fr", "allume la lampe du salon", ("name", "lampe du salon")),
        ("es", "enciende la luz del porche", ("name", "luz del porche")),
        ("nl", "zet de leeslamp aan", ("name", "leeslamp")),
    ],
)
def test_a_light_is_switched_on_in_other_languages(
    language: str, sentence: str, slot: tuple[str, str]
) -> None:
    payload = {"schema": 1, "entities": [{"name": slot[1], "domain": "light"}]}
    document = read_document(json.dumps(payload).encode())
    reader = Reader(at_once(SentenceGrammar.building(document, language)))
    readings = reader.read(sentence)
    assert any(slot in reading.meaning.slots for reading in readings), readings


def test_languages_without_spaces_are_not_offered() -> None:
    assert {"en", "de", "fr", "es", "nl", "pt-BR"} <= languages()
    assert not {"ja", "zh-CN", "th"} & languages()


def test_a_template_of_many_ways_is_walked_lazily() -> None:
    wide = "(a|b|c|d|e|f|g|h) [{name}]" * 6
    payload = {"schema": 1, "entities": [f"thing {at}" for at in range(900)], "sentences": [wide]}
    document = read_document(json.dumps(payload).encode())
    grammar = at_once(SentenceGrammar.building(document, "en", home_sentences=False))
    assert len(grammar._cells) < 5000


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("Turn on.", Ending.OPEN),
        ("turn on the", Ending.OPEN),
        ("turn on the bed", Ending.OPEN),
        ("set the bed light", Ending.OPEN),
        ("Add milk.", Ending.OPEN),
        ("Turn on the bed light.", Ending.WHOLE),
        ("Next.", Ending.WHOLE),
        ("set a timer for 5 minutes", Ending.WHOLE),
        ("Skip on TV.", Ending.CLOSED),
        ("Set the bed light to blue, please.", Ending.CLOSED),
        ("Water the roses.", Ending.CLOSED),
        ("Good morning, Vietnam.", None),
    ],
)
def test_the_grammar_tells_what_may_follow_a_text(
    text: str, ending: Ending | None, reader: Reader
) -> None:
    assert reader.ending(text) is ending


@pytest.mark.parametrize("code", ["no", "nb", "nb-NO", "no_NO"])
def test_norwegian_has_home_assistants_sentences_by_whispers_code(code: str) -> None:
    assert closest_language(code) == "nb"
    assert primary_code(code) == "no"
