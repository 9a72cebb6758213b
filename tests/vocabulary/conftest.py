"""What the vocabulary's tests share: a home, its grammar, the bundled model."""

from __future__ import annotations

import json

import pytest

from support.tiny_model import tiny_model
from voice_daemon.asr import WhisperModel
from voice_daemon.asr.cooperative import at_once
from voice_daemon.vocabulary.document import Document, read_document
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.reading import Reader
from voice_daemon.vocabulary.tokens import TokenAutomaton

HOME = {
    "schema": 1,
    "language": "en",
    "entities": [
        {"name": "Bed Light", "domain": "light", "aliases": ["night lamp"]},
        {"name": "Standing Light", "domain": "light"},
        {"name": "EcoBee", "domain": "climate", "spellings": ["equal bee"]},
        {"name": "Garage Door", "domain": "cover"},
        {"name": "Front Door", "domain": "lock"},
        {"name": "TV", "domain": "media_player"},
        {"name": "Shopping List", "domain": "todo"},
        {"name": "Mood Lighting", "domain": "scene"},
    ],
    "areas": ["Kitchen", "Living Room", "Office"],
    "floors": ["Upstairs"],
    "lists": {"artist": ["Zaho de Sagazan", "The Beatles"], "drink": ["latte", "iced mocha"]},
    "sentences": ["(play|start) {artist} [now]", "([a] {drink};please) for me", "water the roses"],
}


@pytest.fixture(scope="session")
def home() -> Document:
    document = read_document(json.dumps(HOME).encode())
    assert document.faults == ()
    return document


@pytest.fixture(scope="session")
def grammar(home: Document) -> SentenceGrammar:
    return at_once(SentenceGrammar.building(home, "en"))


@pytest.fixture(scope="session")
def reader(grammar: SentenceGrammar) -> Reader:
    return Reader(grammar)


@pytest.fixture(scope="session")
def tiny() -> WhisperModel:
    """The bundled tiny.en, in float32 whatever the device."""
    return tiny_model()


@pytest.fixture(scope="session")
def automaton(grammar: SentenceGrammar, tiny: WhisperModel) -> TokenAutomaton:
    return TokenAutomaton(grammar, tiny.tokenizer.encode)
