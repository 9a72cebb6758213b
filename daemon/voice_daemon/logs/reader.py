"""Reads the log's lines over all its rotations, and goes on reading while it is rotated."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from voice_daemon._lib.files import open_regular, open_to_read

_READ_BYTES: Final = 256 * 1024
_TAIL_BYTES: Final = 256 * 1024
_MAX_LINE_BYTES: Final = 1_000_000
"""Longer is no line of ours: it is given in parts, not held for ever."""


@dataclass(slots=True)
class _Open:
    """A file that stays the same one, whatever it is renamed to."""

    stream: BinaryIO
    inode: int
    held: bytearray = field(default_factory=bytearray)

    def lines(self) -> Iterator[str]:
        """Give the whole lines that were added since the last call."""
        while part := self.stream.read(_READ_BYTES):
            self.held += part
            *whole, rest = self.held.split(b"\n")
            if len(rest) > _MAX_LINE_BYTES:
                whole.append(rest)
                rest = bytearray()
            self.held = rest
            yield from (line.decode("utf-8", "replace") for line in whole)

    def rest(self) -> Iterator[str]:
        """Give what is there without an end: nobody will write it any more."""
        if self.held:
            yield self.held.decode("utf-8", "replace")
            self.held.clear()

    @property
    def was_shortened(self) -> bool:
        return os.fstat(self.stream.fileno()).st_size < self.stream.tell()


class LogFiles:
    """A log and its rotated predecessors: `name`, `name.1`, `name.2`, the highest the oldest."""

    def __init__(self, log_file: Path) -> None:
        self._file = log_file
        self._current: _Open | None = None

    def history(self) -> Iterator[str]:
        """Give every line that is there now; `news` goes on where this ends."""
        found = self._open_all()
        for older in found[:-1]:
            with older.stream:
                yield from older.lines()
                yield from older.rest()
        if found:
            self._current = found[-1]
            yield from self._current.lines()

    def skip(self) -> None:
        """Go to the end without reading; `news` gives what comes after."""
        found = self._open_all()
        for older in found[:-1]:
            older.stream.close()
        if found:
            self._current = found[-1]
            self._current.stream.seek(0, os.SEEK_END)

    def news(self) -> Iterator[str]:
        """Give the lines that were added since; empty when there are none, or no file yet."""
        if self._current is None:
            yield from self.history()
            return
        if self._current.was_shortened:
            self._current.stream.seek(0)
            self._current.held.clear()
        yield from self._current.lines()
        if self._is_rotated(self._current):
            yield from self._move_on(self._current)

    def close(self) -> None:
        """Let go of the file."""
        if self._current is not None:
            self._current.stream.close()
            self._current = None

    def _move_on(self, done: _Open) -> Iterator[str]:
        """Go on with the files that came after `done`, which was renamed or is gone."""
        yield from done.lines()  # written between the last look and the renaming
        yield from done.rest()
        done.stream.close()
        self._current = None
        found = self._open_all()
        at = next((i for i, each in enumerate(found) if each.inode == done.inode), -1)
        for old in found[: at + 1]:
            old.stream.close()
        newer = found[at + 1 :] if at >= 0 else found[-1:]
        for each in newer[:-1]:
            with each.stream:
                yield from each.lines()
                yield from each.rest()
        if newer:
            self._current = newer[-1]
            yield from self._current.lines()

    def _is_rotated(self, current: _Open) -> bool:
        try:
            return self._file.stat().st_ino != current.inode
        except OSError:
            # Renamed this instant, or removed: look again when there is a file of this name.
            return False

    def _open_all(self) -> list[_Open]:
        """Open every file, the oldest first.

        A rotation meanwhile renames upwards, so that a file may slip past a look at all names.
        So it looks until two looks find the same: then none came between them.
        """
        found: dict[int, _Open] = {}
        order: list[int] | None = None
        while (newest_first := self._open_new(found)) != order:
            order = newest_first
        gone = [inode for inode in found if inode not in newest_first]
        return [found[inode] for inode in (*gone, *reversed(newest_first))]

    def _open_new(self, found: dict[int, _Open]) -> list[int]:
        """Open the files that are not `found` yet; the inodes of all that are there now."""
        inodes: dict[int, None] = {}
        for path in (self._file, *self._backups()):
            try:
                stream = os.fdopen(open_regular(path, os.O_RDONLY), "rb", buffering=0)
            except OSError:
                continue
            inode = os.fstat(stream.fileno()).st_ino
            inodes[inode] = None
            if inode in found:
                stream.close()
            else:
                found[inode] = _Open(stream, inode)
        return list(inodes)

    def _backups(self) -> list[Path]:
        """Give the rotated files, the newest first."""
        prefix = f"{self._file.name}."
        numbers = (path.name.removeprefix(prefix) for path in self._folder_entries(prefix))
        ordered = sorted(int(number) for number in numbers if number.isdigit())
        return [self._file.with_name(f"{prefix}{number}") for number in ordered]

    def _folder_entries(self, prefix: str) -> list[Path]:
        try:
            return [p for p in self._file.parent.iterdir() if p.name.startswith(prefix)]
        except OSError:
            return []


def tail(path: Path) -> list[str]:
    """Give the newest lines of one file; none where it cannot be read."""
    try:
        with open_to_read(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > _TAIL_BYTES else lines
