"""The newest good vocabulary document on disk, so that a restart does not forget it.

The file is readable by its owner alone and replaced as a whole. Knows nothing of what is in it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from voice_daemon.errors import VoiceDaemonError
from voice_daemon.vocabulary.document import MAX_BYTES


def read_stored(path: Path) -> bytes | None:
    """Read the document; None where there is none that could be ours."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    return content if 0 < len(content) <= MAX_BYTES else None


def store(path: Path, payload: bytes) -> None:
    """Keep a document; an empty one is forgotten. Raises VoiceDaemonError."""
    try:
        if payload:
            _replace(path, payload)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise VoiceDaemonError(
            "vocabulary.not_saved",
            f"{path} cannot be written: {error.strerror or error}",
            remedy="the names are in force until the next start; check disk and folder",
        ) from error


def _replace(path: Path, payload: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from birth
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
