"""The home's names in a running daemon: where they come from, and who is told.

`VocabularyKeeper` decides which document is in force and says so, on any thread;
`VocabularyAtWork` makes it ready on the model thread, in idle moments. Names leave neither:
they are not logged, and no state or error repeats them.
"""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from voice_daemon.asr.tokenizer import WhisperTokenizer
from voice_daemon.config import VocabularySettings
from voice_daemon.errors import Problem, VoiceDaemonError
from voice_daemon.mqtt.topics import SCHEMA, Leaf, MqttMessage, Topics, encode_json
from voice_daemon.vocabulary.acceptance import AcceptanceRule
from voice_daemon.vocabulary.correction import Corrector, HomeVocabulary, building_vocabulary
from voice_daemon.vocabulary.document import Document, VocabularyError, read_document
from voice_daemon.vocabulary.store import known_document, read_file, store

log = structlog.get_logger()

BAD_DOCUMENT: Final = "vocabulary.bad_document"

Learned = Callable[[HomeVocabulary | VoiceDaemonError | None], None]


class VocabularyState(StrEnum):
    """The state of the home's names."""

    NONE = "none"
    """None are known."""
    LOADING = "loading"
    READY = "ready"
    UNUSED = "unused"
    """Names are known, and cannot be used: `why` says why."""


@dataclass(frozen=True, slots=True)
class VocabularySummary:
    """The public facts about the names: everything but the names."""

    state: VocabularyState = VocabularyState.NONE
    source: str | None = None
    names: int = 0
    sentences: int = 0
    lists: int = 0
    left_out: int = 0
    language: str | None = None
    sha256: str | None = None
    why: str | None = None

    def message(self, topics: Topics) -> MqttMessage:
        """Give what is retained of it."""
        document = {"schema": SCHEMA, **asdict(self)}
        return MqttMessage(topics.path(Leaf.VOCABULARY_STATE), encode_json(document), retain=True)


def acceptance_rule(settings: VocabularySettings) -> AcceptanceRule:
    """Build the rule by which a sentence of the home is taken for what was heard."""
    return AcceptanceRule(margin=settings.margin, protected=frozenset(settings.protected))


class VocabularyAtWork:
    """Makes documents ready for the recogniser in use, on the model thread."""

    def __init__(
        self,
        corrector: Corrector,
        tokenizer: WhisperTokenizer,
        *,
        settings: VocabularySettings,
        language: str,
    ) -> None:
        self._corrector = corrector
        self._tokenizer = tokenizer
        self._language = language
        self.tune(settings)

    def tune(self, settings: VocabularySettings) -> None:
        """Take over when a sentence of the home is taken for what was heard."""
        self._settings = settings
        self._corrector.rule = acceptance_rule(settings)

    def learning(self, document: Document | None) -> Generator[None, None, HomeVocabulary | None]:
        """Make a document ready and put it in force, in short steps; None forgets all names.

        Raises VocabularyError where it cannot be used; then what was in force is forgotten.
        """
        try:
            home = None if document is None else (yield from self._building(document))
        except VoiceDaemonError:
            self._corrector.home = None
            raise
        self._corrector.home = home
        return home

    def _building(self, document: Document) -> Generator[None, None, HomeVocabulary]:
        spoken = document.language or ("en" if self._language == "auto" else self._language)
        if not self._tokenizer.is_multilingual and not spoken.lower().startswith("en"):
            raise VocabularyError(
                "vocabulary.language",
                f"the names are in {spoken!r}, and the model knows English only",
                remedy="choose a multilingual model, or English names",
            )
        return (
            yield from building_vocabulary(
                document,
                self._tokenizer.encode,
                language=spoken,
                sentences=self._settings.sentences,
            )
        )


class LearningJob:
    """A `ComputeJob`: makes names ready while no session is open, and tells how it went."""

    def __init__(
        self,
        steps: Generator[None, None, HomeVocabulary | None],
        *,
        at_rest: Callable[[], bool],
        learned: Learned,
    ) -> None:
        self._steps = steps
        self._at_rest = at_rest
        self._learned = learned
        self._is_over = False
        self._n_steps = 0
        self._longest_s = 0.0

    @property
    def due(self) -> bool:
        """True while there is a step to take."""
        return not self._is_over and self._at_rest()

    def step(self) -> None:
        """Take one step; whatever goes wrong ends the job, and nothing else."""
        begun_s = time.monotonic()
        try:
            next(self._steps)
        except StopIteration as end:
            self._end(end.value)
        except VoiceDaemonError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - its message might repeat names
            self._end(
                VocabularyError(
                    "vocabulary.failed",
                    f"the names cannot be used: {type(error).__name__}",
                    remedy="check the document: `daemonctl vocabulary check FILE`",
                )
            )
        self._n_steps += 1
        self._longest_s = max(self._longest_s, time.monotonic() - begun_s)

    def drop(self) -> None:
        """Give it up without a word."""
        self._is_over = True
        self._steps.close()

    def _end(self, result: HomeVocabulary | VoiceDaemonError | None) -> None:
        self._is_over = True
        # The longest step is how long the microphone had to wait at worst.
        longest_ms = round(1000 * self._longest_s)
        log.info("vocabulary.learned", steps=self._n_steps, longest_step_ms=longest_ms)
        self._learned(result)


def document_topics(topics: Topics) -> tuple[str, str]:
    """List the topics of documents: this node's, which goes first, and that for all."""
    return topics.path(Leaf.VOCABULARY), f"{topics.base}/{Leaf.VOCABULARY.value}"


class VocabularyKeeper:
    """Chooses the document in force: the node's from the broker, that for all nodes, or the file's.

    `learn` has one made ready and tells how it went, on another thread. `changed`: there is
    something to `save`.
    """

    def __init__(
        self,
        settings: VocabularySettings,
        *,
        stored: Path | None,
        topics: Topics,
        learn: Callable[[Document | None, Learned], None],
        publish: Callable[[MqttMessage], None],
        set_problem: Callable[[str, Problem | None], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._stored = stored
        self._topics = topics
        self._learn = learn
        self._publish = publish
        self._set_problem = set_problem
        self._changed = changed
        self._lock = threading.RLock()
        self._given: dict[str, tuple[bytes, Document]] = {}
        self._file: Document | None = None
        self._summary = VocabularySummary()
        self._unsaved: bytes | None = None

    @property
    def summary(self) -> VocabularySummary:
        """The public facts now."""
        with self._lock:
            return self._summary

    @property
    def is_dirty(self) -> bool:
        """True when `save` has something to write."""
        return self._unsaved is not None

    def restore(self) -> None:
        """Begin with what came last, or with the owner's file."""
        with self._lock:
            self._file = self._read_file()
            if self._stored is not None and self._settings.enabled:
                known = known_document(self._stored, None)
                if known is not None:
                    # The broker will say soon whether it is still so.
                    self._given["stored"] = (b"", known.document)
            self._choose()

    def on_message(self, topic: str, payload: bytes) -> None:
        """Take a document that was published; must not wait."""
        with self._lock:
            if not payload:
                self._given.pop(topic, None)
                self._given.pop("stored", None)
            else:
                try:
                    document = read_document(payload)
                except VocabularyError as error:
                    log.warning("vocabulary.refused", reason=error.message, topic=topic)
                    told = f"{topic}: {error.message}"
                    self._set_problem(BAD_DOCUMENT, Problem("vocabulary", told, error.remedy))
                    return
                self._given[topic] = (payload, document)
                self._given.pop("stored", None)
            self._set_problem(BAD_DOCUMENT, None)
            payload, _ = self._chosen_payload()
            self._unsaved = payload
            self._choose()
        self._changed()

    def configure(self, settings: VocabularySettings) -> None:
        """Take over other settings."""
        with self._lock:
            before, self._settings = self._settings, settings
            learned_by = ("enabled", "file", "sentences")
            if any(getattr(before, key) != getattr(settings, key) for key in learned_by):
                self._file = self._read_file()
                self._choose(again=True)

    def save(self) -> None:
        """Write what came last; raises VoiceDaemonError."""
        with self._lock:
            payload, self._unsaved = self._unsaved, None
        if payload is not None and self._stored is not None:
            store(self._stored, payload)

    def state_message(self) -> MqttMessage:
        """Give what is retained of it: counts, language and hash, and no names."""
        return self.summary.message(self._topics)

    def _read_file(self) -> Document | None:
        if self._settings.file is None or not self._settings.enabled:
            return None
        try:
            return read_file(self._settings.file)
        except VocabularyError as error:
            self._set_problem(BAD_DOCUMENT, Problem("vocabulary", error.message, error.remedy))
            return self._file

    def _chosen_payload(self) -> tuple[bytes, Document | None]:
        for source in (*document_topics(self._topics), "stored"):
            if source in self._given:
                return self._given[source]
        return b"", self._file

    def _choose(self, *, again: bool = False) -> None:
        """Have the document that counts made ready, unless it is."""
        document = self._chosen_payload()[1] if self._settings.enabled else None
        if document is not None and document.empty:
            document = None
        known = self._summary
        if not again and document is not None and document.sha256 == known.sha256:
            return
        if not again and document is None and known.state is VocabularyState.NONE:
            return
        self._summary = self._told(document)
        self._learn(document, lambda result: self._learned(document, result))
        self._publish(self.state_message())

    def _told(self, document: Document | None) -> VocabularySummary:
        if document is None:
            return VocabularySummary()
        if document.n_left_out:
            places = [fault.where for fault in document.faults[:3]]
            log.warning("vocabulary.left_out", n=document.n_left_out, first=places)
        if document.warnings:
            places = [warning.where for warning in document.warnings[:3]]
            log.warning("vocabulary.warnings", n=len(document.warnings), first=places)
        source = "file" if document is self._file else "mqtt"
        return VocabularySummary(
            state=VocabularyState.LOADING,
            source=source,
            names=document.n_names,
            sentences=len(document.sentences),
            lists=len(document.lists),
            left_out=document.n_left_out,
            language=document.language or None,
            sha256=document.sha256,
        )

    def _learned(
        self, document: Document | None, result: HomeVocabulary | VoiceDaemonError | None
    ) -> None:
        """Take note of how it went; on the model thread."""
        with self._lock:
            if document is None or document.sha256 != self._summary.sha256:
                return
            if isinstance(result, HomeVocabulary):
                self._summary = replace(
                    self._summary, state=VocabularyState.READY, language=result.language, why=None
                )
                log.info(
                    "vocabulary.ready",
                    names=document.n_names,
                    language=result.language,
                    templates_unread=result.n_unread,
                )
            elif isinstance(result, VoiceDaemonError):
                why = f"{result.message}; {result.remedy}"
                self._summary = replace(self._summary, state=VocabularyState.UNUSED, why=why)
                log.warning("vocabulary.unused", reason=result.message, remedy=result.remedy)
        self._publish(self.state_message())
