"""Reads crashes in launchd's files of the daemon's standard output and error, entry by entry.

These files have no times and no format: an entry is a traceback, an error with its remedy, what
the interpreter wrote as it died, or other lines.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from voice_daemon.logs.reader import tail

_TRACEBACK: Final = "Traceback (most recent call last):"
_FATAL: Final = "Fatal Python error:"
_ERROR: Final = "daemonctl: "
_LAUNCHER: Final = "voice-daemon: "
"""What the app's launcher says where it cannot start Python (launchd/launcher.c)."""
_DYLD: Final = re.compile(r"dyld\[\d+\]: ")
"""What macOS' loader says of a program that it cannot load."""
_LOADER_REMEDY: Final = (
    "a library of Python has gone, as after `brew upgrade`: make its environment anew, then "
    "`daemonctl install`"
)
_REMEDY: Final = "  -> "
_WARNING: Final = "daemonctl: warning: "
_RAISED: Final = re.compile(r"[A-Za-z_][\w.]*(: .*)?")
"""The line that ends a traceback: the exception."""


class CrashKind(StrEnum):
    """The kind of an entry."""

    TRACEBACK = "traceback"
    FATAL = "fatal"
    """The interpreter itself failed."""
    ERROR = "error"
    """The daemon ended with an error that it told."""
    LOADER = "loader"
    """Python could not even be loaded."""
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Crash:
    """One entry."""

    kind: CrashKind
    lines: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The one line that says most."""
        if self.kind is CrashKind.TRACEBACK:
            return self.lines[-1]
        first = self.lines[0].removeprefix(_ERROR).removeprefix(_LAUNCHER)
        return _DYLD.sub("", first)

    @property
    def remedy(self) -> str:
        """The daemon's own remedy; empty where it could give none."""
        if self.kind is CrashKind.LOADER:
            return _LOADER_REMEDY
        last = self.lines[-1]
        return last.removeprefix(_REMEDY) if last.startswith(_REMEDY) else ""


def read_crashes(path: Path) -> tuple[Crash, ...]:
    """Give the entries at the end of a file, the oldest first; none where there is no file."""
    return entries_of(tail(path))


def entries_of(lines: Iterable[str]) -> tuple[Crash, ...]:
    """Part lines into entries."""
    entries: list[tuple[CrashKind, list[str]]] = []
    for line in lines:
        kind = _beginning(line)
        current = entries[-1] if entries else None
        if current is not None and _belongs(line, kind, *current):
            current[1].append(line)
        elif line.strip():
            entries.append((kind or CrashKind.TEXT, [line]))
    return tuple(Crash(kind, _trimmed(kept)) for kind, kept in entries)


def _beginning(line: str) -> CrashKind | None:
    if line.startswith(_TRACEBACK):
        return CrashKind.TRACEBACK
    if line.startswith(_FATAL):
        return CrashKind.FATAL
    if line.startswith((_ERROR, _LAUNCHER)) and not line.startswith(_WARNING):
        return CrashKind.ERROR
    if _DYLD.match(line):
        return CrashKind.LOADER
    return None


def _belongs(line: str, begins: CrashKind | None, kind: CrashKind, lines: list[str]) -> bool:
    """Tell whether a line goes on with the entry before it; `begins`: what it could begin."""
    if begins is not None:
        # An error of several lines: each says who speaks, and the remedy comes last.
        return begins is kind is CrashKind.ERROR and not lines[-1].startswith(_REMEDY)
    match kind:
        case CrashKind.TRACEBACK:
            is_over = len(lines) > 1 and not lines[-1].startswith(" ")
            return not is_over and (line.startswith(" ") or _RAISED.fullmatch(line) is not None)
        case CrashKind.FATAL:
            return True
        case CrashKind.ERROR:
            return not lines[-1].startswith(_REMEDY) and line.startswith(_REMEDY)
        case CrashKind.LOADER:
            return line.startswith(" ")
        case CrashKind.TEXT:
            return bool(line.strip())


def _trimmed(lines: list[str]) -> tuple[str, ...]:
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return tuple(lines)
