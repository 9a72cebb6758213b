"""Chooses between what was heard and a sentence of the home, over one utterance's audio."""

import structlog

from voice_daemon.asr.cooperative import Steps
from voice_daemon.asr.load import WhisperModel
from voice_daemon.asr.types import FinalReading
from voice_daemon.events import Ending
from voice_daemon.vocabulary.acceptance import AcceptanceRule, Decision, Reason, as_heard, decide
from voice_daemon.vocabulary.branches import BranchingDecoder, LogProbs
from voice_daemon.vocabulary.home import HomeVocabulary
from voice_daemon.vocabulary.search import SentenceSearch
from voice_daemon.vocabulary.spoken import fold

log = structlog.get_logger()

MAX_TOKENS = 40
"""Of what was heard; nobody says a longer command."""


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
        found = yield from self._search.searching(
            automaton, heard.cross, heard.opening, heard.tokens, reach=self.rule.reach
        )
        return decide(found, home.reader.read, self.rule, language=home.language)

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
    return a.lower().replace("_", "-").split("-")[0] == b.lower().replace("_", "-").split("-")[0]
