"""One file from the hub to the disk: resumed where it broke, and never accepted unverified.

Knows one file and one folder; which files make a model is not decided here.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, Protocol

from voice_daemon.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_daemon.models.download import Hub
    from voice_daemon.models.repo_files import RemoteFile

ATTEMPTS: Final = 5
"""Attempts in a row that bring no new byte before a transfer is given up."""

_HASH_BLOCK_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64


class BrokenTransferError(Exception):
    """The transfer stopped before its end; asking again may go on from there."""


class Progress(Protocol):
    """Is told how a pull goes on."""

    def begin(self, name: str, total_bytes: int) -> None:
        """Open a pull of `total_bytes`, what is there already included."""

    def at(self, file: str, n_bytes: int) -> None:
        """Note that `n_bytes` of `file` are there; fewer than before when it starts afresh."""

    def end(self) -> None:
        """Close the pull, well or not."""


def part_path(file: RemoteFile, folder: Path) -> Path:
    """Where a file grows. The digest in the name keeps two revisions apart."""
    return folder / f"{file.name}.{file.digest[:12]}.part"


def present_bytes(file: RemoteFile, folder: Path) -> int:
    """How much of a file an earlier pull has left in `folder`."""
    for path in (folder / file.name, part_path(file, folder)):
        if path.is_file():
            return min(path.stat().st_size, file.size_bytes)
    return 0


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    hub: Hub,
    progress: Progress,
    pause: Callable[[float], None],
) -> str:
    """Bring `file` into `folder` and return its SHA-256 in hex.

    `pause(seconds)` waits between attempts. Raises `ModelError` when the transfer keeps
    breaking (what has arrived stays) or the bytes are not what the hub promised (they go).
    """
    done, part = folder / file.name, part_path(file, folder)
    if done.is_file():
        sha256 = verified_sha256(done, file)
        if sha256 is not None:
            progress.at(file.name, file.size_bytes)
            return sha256
        done.unlink()
    resumed = part.exists()
    while True:
        _receive(file, part, hub=hub, progress=progress, pause=pause)
        sha256 = verified_sha256(part, file)
        if sha256 is not None:
            part.replace(done)
            return sha256
        part.unlink()
        if not resumed:
            raise ModelError(
                "models.corrupted",
                f"{file.name} of {file.repo_id} arrived damaged: its checksum is not the hub's",
                remedy="run the same command again; nothing was installed",
            )
        resumed = False


def _receive(
    file: RemoteFile, part: Path, *, hub: Hub, progress: Progress, pause: Callable[[float], None]
) -> None:
    """Fill `part` up to the file's size, asking again whenever the transfer breaks."""
    failures = 0
    part.touch()
    while (before := part.stat().st_size) != file.size_bytes:
        try:
            _append(file, part, hub=hub, progress=progress)
        except BrokenTransferError as error:
            failures = 0 if part.stat().st_size > before else failures + 1
            if failures == ATTEMPTS:
                raise ModelError(
                    "models.broken_transfer",
                    f"{file.name} broke off at {before} of {file.size_bytes} bytes: {error}",
                    remedy="run the same command again: it goes on from there",
                ) from error
            pause(2.0**failures / 2)


def _append(file: RemoteFile, part: Path, *, hub: Hub, progress: Progress) -> None:
    """Make one request and write what it brings behind what is there."""
    have = part.stat().st_size
    if have > file.size_bytes:
        have = 0
    progress.at(file.name, have)
    with part.open("r+b") as sink, hub.read(file, from_byte=have) as (first_byte, chunks):
        sink.truncate(first_byte)
        sink.seek(first_byte)
        position = first_byte
        for chunk in chunks:
            # Never more than was promised; whether it is the right file, the checksum tells.
            position += sink.write(chunk[: file.size_bytes - position])
            progress.at(file.name, position)
            if position == file.size_bytes:
                break
        sink.flush()
        os.fsync(sink.fileno())
    if position < file.size_bytes:
        raise BrokenTransferError("the connection ended early")


def verified_sha256(path: Path, file: RemoteFile) -> str | None:
    """Return the file's SHA-256 in hex when its bytes are what the hub promised, else None.

    A small file's digest is git's: the SHA-1 of `blob <size>`, a NUL and the content.
    """
    sha256 = hashlib.sha256()
    header = f"blob {path.stat().st_size}\0".encode()
    is_git_blob = len(file.digest) != _SHA256_DIGITS
    promised = hashlib.sha1(header, usedforsecurity=False) if is_git_blob else sha256
    with path.open("rb") as content:
        while block := content.read(_HASH_BLOCK_BYTES):
            sha256.update(block)
            if is_git_blob:
                promised.update(block)
    return sha256.hexdigest() if promised.hexdigest() == file.digest else None
