"""A home's vocabulary, ready to be used with one model's tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass

from voice_daemon.asr.cooperative import Steps
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.reading import Reader
from voice_daemon.vocabulary.tokens import TokenAutomaton

HOME_ASSISTANT = "home-assistant"
NONE = "none"


@dataclass(frozen=True, slots=True)
class HomeVocabulary:
    """The sentences of a home, in words and in tokens."""

    document: Document
    language: str
    reader: Reader
    automaton: TokenAutomaton | None
    """None where it is used without a model."""
    n_unread: int
    """Templates that could not be used."""


def building_vocabulary(
    document: Document,
    encode: Callable[[str], list[int]],
    *,
    language: str,
    sentences: str = HOME_ASSISTANT,
) -> Steps[HomeVocabulary]:
    """Make a home's vocabulary for a model's tokenizer, in short steps.

    `language` is the one that is listened for; a document that names another wins, for its
    names are in it. Raises VocabularyError where the extra is missing or there are no sentences
    for the language.
    """
    grammar = yield from _building_grammar(document, language, sentences)
    automaton = TokenAutomaton(grammar, encode)
    yield from automaton.warming()
    return HomeVocabulary(document, grammar.language, Reader(grammar), automaton, grammar.n_unread)


def reading_vocabulary(
    document: Document, *, language: str, sentences: str = HOME_ASSISTANT
) -> Steps[HomeVocabulary]:
    """Make the same for texts alone."""
    grammar = yield from _building_grammar(document, language, sentences)
    return HomeVocabulary(document, grammar.language, Reader(grammar), None, grammar.n_unread)


def _building_grammar(document: Document, language: str, sentences: str) -> Steps[SentenceGrammar]:
    spoken = document.language or language
    return SentenceGrammar.building(document, spoken, home_sentences=sentences == HOME_ASSISTANT)
