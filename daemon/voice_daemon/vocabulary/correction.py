"""A home's vocabulary with one model: chooses between what was heard and a sentence of the home."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import structlog

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.sampler import LogProbs
from voice_daemon.asr.types import FinalReading
from voice_daemon.events import Ending
from voice_daemon.vocabulary.acceptance import (
    AcceptanceRule,
    Decision,
    Reason,
    as_heard,
    decide,
    rival_floor,
)
from voice_daemon.vocabulary.branches import BranchingDecoder
from voice_daemon.vocabulary.document import Document
from voice_daemon.vocabulary.grammar import SentenceGrammar
from voice_daemon.vocabulary.reading import Reader
from voice_daemon.vocabulary.search import SentenceSearch
from voice_daemon.vocabulary.spoken import fold
from voice_daemon.vocabulary.templates import primary_code
from voice_daemon.vocabulary.tokens import TokenAutomaton

log = structlog.get_logger()

HOME_ASSISTANT = "home-assistant"
NONE = "none"
MAX_TOKENS = 40
"""Of what was heard; nobody says a longer command."""


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
    yield
    _set_aside()
    return HomeVocabulary(document, grammar.language, Reader(grammar), automaton, grammar.n_unread)


def _set_aside() -> None:
    """Spare the garbage collector a grammar's 100,000 small objects, which stay anyway.

    Else a full collection, which may come in the middle of a command, takes 0.15 s. What an
    earlier vocabulary left is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def reading_vocabulary(
    document: Document, *, language: str, sentences: str = HOME_ASSISTANT
) -> Steps[HomeVocabulary]:
    """Make the same for texts alone."""
    grammar = yield from _building_grammar(document, language, sentences)
    return HomeVocabulary(document, grammar.language, Reader(grammar), None, grammar.n_unread)


def _building_grammar(document: Document, language: str, sentences: str) -> Steps[SentenceGrammar]:
    spoken = document.language or language
    return SentenceGrammar.building(document, spoken, home_sentences=sentences == HOME_ASSISTANT)


class Corrector:
    """Corrects with one model; what it knows of the home may change between utterances."""

    def __init__(
        self,
        model: WhisperModel,
        *,
        logprobs: LogProbs | None = None,
        rule: AcceptanceRule | None = None,
    ) -> None:
        self.rule = rule or AcceptanceRule()
        self.home: HomeVocabulary | None = None
        """None while nothing is known."""
        self.newest: Decision | None = None
        """On the last utterance that was decided on; None where none was since `correcting`."""
        decoder = BranchingDecoder(model, logprobs)
        self._search = SentenceSearch(decoder, model.tokenizer, suppressed=model.suppress_tokens)

    def correcting(self, heard: FinalReading) -> Steps[Decision | None]:
        """Decide what was said, in a step a decoder call; None without a vocabulary.

        May be given up at any step. Never raises: what was heard stands.
        """
        self.newest = None
        home = self.home
        if home is None or not _same_language(heard.language, home.language):
            return None
        try:
            self.newest = yield from self._deciding(heard, home)
        except Exception as error:  # noqa: BLE001 - no mistake here may cost what was heard
            # The message might repeat names.
            log.warning("vocabulary.failed", error=type(error).__name__)
            self.newest = _kept(heard)
        return self.newest

    def _deciding(self, heard: FinalReading, home: HomeVocabulary) -> Steps[Decision]:
        if readings := home.reader.read(heard.text):
            return as_heard(heard.text, readings)
        automaton = home.automaton
        if automaton is None or not self._is_worth_a_search(heard, home):
            return _kept(heard)
        automaton.tidy()
        yield
        read, rule, language = cache(home.reader.read), self.rule, home.language
        found = yield from self._search.searching(
            automaton,
            heard.cross,
            heard.opening,
            heard.tokens,
            reach=rule.reach,
            rival_floor=rival_floor(heard.text, read, rule, language=language),
        )
        return decide(found, read, rule, language=language)

    def ending(self, text: str, language: str) -> Ending | None:
        """Give what may follow a text; None where no sentence begins so. Never raises."""
        home = self.home
        if home is None or not _same_language(language, home.language):
            return None
        try:
            return home.reader.ending(text)
        except Exception as error:  # noqa: BLE001 - the endpoint does without
            log.warning("vocabulary.failed", error=type(error).__name__)
            return None

    def _is_worth_a_search(self, heard: FinalReading, home: HomeVocabulary) -> bool:
        """One word alone is a command only where one begins nearly so."""
        if len(heard.tokens) > MAX_TOKENS or not self.rule.margin:
            return False
        words = fold(heard.text)
        return len(words) > 1 or any(home.reader.begins_like(word) for word in words)


def _kept(heard: FinalReading) -> Decision:
    return Decision(heard.text, Reason.NOT_SEARCHED, in_vocabulary=False, heard=heard.text)


def _same_language(a: str, b: str) -> bool:
    return primary_code(a) == primary_code(b)
