"""Checks that the home's names can be used: the extra, the language, the owner's file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from voice_daemon.config import Settings
from voice_daemon.doctor.checks import Finding, ok, skip, warn
from voice_daemon.vocabulary.document import VocabularyError
from voice_daemon.vocabulary.store import known_document
from voice_daemon.vocabulary.templates import installed, languages


def vocabulary(settings: Settings, stored: Path) -> Iterator[Finding]:
    """Look what is known of the home, and whether it can be used."""
    wanted = settings.vocabulary
    if not wanted.enabled:
        yield skip("vocabulary", "vocabulary.enabled is false")
        return
    try:
        known = known_document(stored, wanted.file)
    except VocabularyError as error:
        yield warn("vocabulary", f"{wanted.file}: {error.message}", error.remedy)
        return
    if known is None:
        yield skip("vocabulary", "no names of a home are known: docs/vocabulary.md")
        return
    document = known.document
    language = document.language or settings.asr.language
    if not installed():
        yield warn(
            "vocabulary",
            f"{document.n_names} names are known, and the home's sentences are not installed",
            "pip install 'voice-daemon[home]'",
        )
    elif language != "auto" and wanted.sentences != "none" and not _is_spoken(language):
        yield warn(
            "vocabulary",
            f"there are no sentences for language {language!r}",
            'set sentences = "none" in [vocabulary] to use those of the document alone',
        )
    elif document.n_left_out:
        yield warn(
            "vocabulary",
            f"{document.n_names} names from {known.source}, {document.n_left_out} entries left out",
            "check the document: daemonctl vocabulary check FILE",
        )
    else:
        yield ok("vocabulary", f"{document.n_names} names from {known.source}")


def _is_spoken(language: str) -> bool:
    known = {code.lower().replace("_", "-") for code in languages()}
    wanted = language.lower().replace("_", "-")
    return wanted in known or wanted.split("-")[0] in known
