"""Vocabulary documents on disk: the owner's file, and the newest good one that came by MQTT."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voice_daemon._lib.files import open_to_read, write_atomically
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.vocabulary.document import MAX_BYTES, Document, VocabularyError, read_document


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A home's document, and its origin."""

    document: Document
    source: str
    """"mqtt" or "file"."""


def known_document(stored: Path, file: Path | None) -> KnownDocument | None:
    """Read the document that came by MQTT, else the owner's file; None where there is neither.

    Raises VocabularyError for a file that cannot be used.
    """
    payload = read_stored(stored)
    if payload is not None:
        # One that this version cannot read any more will come again from the broker.
        with suppress(VocabularyError):
            return KnownDocument(read_document(payload), "mqtt")
    return None if file is None else KnownDocument(read_file(file), "file")


def read_file(path: Path) -> Document:
    """Read a document in JSON, or in TOML where its name ends so; raises VocabularyError."""
    try:
        with open_to_read(path) as file:
            payload = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise VocabularyError(
            "vocabulary.unreadable",
            f"{path} cannot be read: {error.strerror or error}",
            remedy="check the path, and who may read it",
        ) from None
    return read_document(payload, toml=path.suffix == ".toml")


def read_stored(path: Path) -> bytes | None:
    """Read the document; None where there is none that could be ours."""
    try:
        with open_to_read(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    return content if 0 < len(content) <= MAX_BYTES else None


def store(path: Path, payload: bytes) -> None:
    """Keep a document; an empty one is forgotten. Raises VoiceDaemonError."""
    try:
        if payload:
            write_atomically(path, payload)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise VoiceDaemonError(
            "vocabulary.not_saved",
            f"{path} cannot be written: {error.strerror or error}",
            remedy="the names are in force until the next start; check disk and folder",
        ) from error
