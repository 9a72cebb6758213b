"""Files: replaced as a whole, read within bounds, and who else could change them.

A file is as trustworthy as the people who may write it and the folders on its way.
"""

import codecs
import errno
import fcntl
import json
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Exposure:
    """Somebody else has a hand in it."""

    path: Path
    """The file or folder at fault."""
    fault: str
    """To follow the path's name."""
    remedy: str
    """A command."""


def exposed_way(path: Path) -> Exposure | None:
    """Look at every folder above, by the path as it is written and as it is without links.

    A folder that everybody may write is good enough with the sticky bit, like /tmp: what lies
    there is its owner's to replace. Folders that are missing are nobody's yet.
    """
    for above in sorted({*path.absolute().parents, *path.resolve().parents}):
        try:
            found = above.stat()
        except FileNotFoundError:
            continue
        if found.st_mode & stat.S_ISVTX and found.st_uid in _trusted():
            continue
        exposure = _exposed(above, found)
        if exposure is not None:
            return exposure
    return None


def exposed_file(path: Path) -> Exposure | None:
    """Look at the file itself, links followed; raises OSError for one that is not there."""
    return _exposed(path, path.stat())


def shared_with_a_group(path: Path) -> Exposure | None:
    """Look whether a group may write the file, or replace it in its folder; raises OSError.

    Many systems give each user a group of their own, so that this may be nobody else.
    """
    for looked_at in (path, path.resolve().parent):
        mode = looked_at.stat().st_mode
        if mode & stat.S_IWGRP and not (looked_at != path and mode & stat.S_ISVTX):
            return Exposure(
                looked_at,
                f"may be written by its group (mode {stat.S_IMODE(mode):04o})",
                f"chmod g-w '{looked_at}'",
            )
    return None


def open_to_others(found: os.stat_result) -> str | None:
    """Return the mode of a file that others may read or write, as chmod writes it; else None."""
    mode = stat.S_IMODE(found.st_mode)
    return f"{mode:04o}" if mode & 0o077 else None


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file until it is closed; False when another process holds it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exposed(path: Path, found: os.stat_result) -> Exposure | None:
    if found.st_uid not in _trusted():
        return Exposure(
            path, f"belongs to user {found.st_uid}", f"chown {os.geteuid()} '{path}', as root"
        )
    if found.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(found.st_mode)
        return Exposure(
            path, f"may be written by everybody (mode {mode:04o})", f"chmod o-w '{path}'"
        )
    return None


def _trusted() -> set[int]:
    """Give whom a file may belong to: this user, and root, who could do anything anyway."""
    return {os.geteuid(), 0}


MAX_NAMED_BYTES: Final = 2**20
"""Of a file with a password, a key or certificates; a system's authorities take a quarter."""
MAX_BYTES: Final = 64 * 2**20
"""The largest tokenizer.json has 4 MB."""


def read_bounded(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file whole; ValueError for one that is too long to be what it should."""
    with open_to_read(path) as file:
        # A read claims as much memory as it asks for, whatever there is.
        content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    if len(content) > max_bytes:
        size = f"{max_bytes >> 20} MiB" if max_bytes >> 20 else f"{max_bytes >> 10} KiB"
        raise ValueError(f"it is longer than {size}")
    return content


def read_json(path: Path) -> Any:
    """Read a JSON document; ValueError for what is none."""
    try:
        return json.loads(decode_text(read_bounded(path)))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def fault_of_file(file: Path, *, secret: bool) -> tuple[str, str] | None:
    """Return what is wrong with a file that the configuration names, and the remedy."""
    try:
        mode = open_to_others(file.stat())
    except OSError as error:
        return f"the file cannot be used: {error.strerror}", f"put the file at {file}"
    if not file.is_file():
        return "is not a file", f"put a file at {file}"
    if secret and mode is not None:
        return f"others can read this file (mode {mode})", f"`chmod 600 {file}`"
    exposure = exposed_file(file)
    if exposure is not None:
        return f"others could change the file: it {exposure.fault}", f"run: {exposure.remedy}"
    if not os.access(file, os.R_OK):
        return "this user may not read the file", f"`chmod 600 {file}` as its owner"
    if file.stat().st_size > MAX_NAMED_BYTES:
        said = f"is longer than {MAX_NAMED_BYTES >> 20} MiB"
        return said, "name the file that holds the password, the key or the certificates alone"
    if not file.read_bytes().strip():
        return "the file is empty", f"write what is missing into {file}"
    return None


def open_regular(path: str | Path, flags: int) -> int:
    """Open a file, 0600 if it is made; raises OSError for anything but a file.

    Where a pipe lies in its place it is not waited for, as an ordinary open would.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise OSError(errno.EINVAL, "it is not a file")
    return descriptor


def open_to_read(path: Path) -> BufferedReader:
    """Open a file that somebody named; OSError for a pipe, which would be waited for, and such."""
    return os.fdopen(open_regular(path, os.O_RDONLY), "rb")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, so that whoever reads it finds the old one or the new one, and 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from birth
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Write the folder's entries: until then a power cut may bring the old file back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def decode_text(content: bytes) -> str:
    """Decode UTF-8 text less a byte order mark and line ends of Windows; raises UnicodeDecodeError.

    Editors on Windows write both, and neither is part of what was meant. Its PowerShell writes
    UTF-16, which always begins with a mark.
    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\r\n", "\n")
