"""Text on a terminal: colour, errors, durations and times, and characters that it cannot take."""

import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from voice_daemon.errors import ConfigError, VoiceDaemonError

# What stands in an ANSI escape sequence.
BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"


@dataclass(frozen=True, slots=True)
class Painter:
    """Wraps text in ANSI colour, or leaves it as it is."""

    colour: bool

    def __call__(self, text: str, code: str) -> str:
        """Colour text; `code` is what stands in the escape sequence."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def bar(share: float, n_cells: int, *, mark: float | None = None) -> str:
    """Draw a meter of which `share`, 0..1, is full; `|` shows a mark that is not reached yet."""
    n_full, eighths = divmod(round(min(1.0, max(0.0, share)) * n_cells * 8), 8)
    cells = ("█" * n_full + _EIGHTHS[eighths]).ljust(n_cells)[:n_cells]
    if mark is None or share >= mark:
        return cells
    at = min(n_cells - 1, int(mark * n_cells))
    return f"{cells[:at]}|{cells[at + 1 :]}"


def printable(text: str) -> str:
    """Escape what could steer the reader's terminal: others choose some of what is shown."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def replace_unencodable(stream: TextIO) -> None:
    """Have a stream write `?` for what its encoding lacks (LC_ALL=C), instead of raising."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def open_standard_streams() -> None:
    """Give the standard streams that the caller closed a place where nothing comes or goes.

    Otherwise the next file or connection would take their descriptors, and hear what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for the process's life; a descriptor is no path


def is_unicode(stream: TextIO) -> bool:
    """True where every character can be written."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def print_error(error: VoiceDaemonError, err: TextIO) -> None:
    """Print an error for a person: `daemonctl: what`, then `  -> remedy`.

    Only the message of a wrong configuration has several lines, one for each mistake: elsewhere
    a line end is part of a name. Where it cannot be written (launchd's file on a full disk) the
    error is still what the exit code says.
    """
    has_lines = isinstance(error, ConfigError)
    lines = error.message.splitlines() if has_lines else [error.message]
    with suppress(OSError):
        err.writelines(f"daemonctl: {printable(line)}\n" for line in lines)
        if error.remedy:
            err.write(f"  -> {printable(error.remedy)}\n")
    flush_or_drop(err)


def flush_or_drop(stream: TextIO) -> None:
    """Write what waits, or have it forgotten: Python would try again at exit, and end with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def duration_text(seconds: float) -> str:
    """Seconds as the two largest of days, hours, minutes and seconds: `1d 2h`, `4m 9s`."""
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ((days, "d"), (hours, "h"), (minutes, "m"), (whole_seconds, "s"))
    first = next((at for at, (value, _) in enumerate(units) if value), len(units) - 1)
    return " ".join(f"{value}{unit}" for value, unit in units[first : first + 2])


def rfc3339(at: datetime, timespec: str = "seconds") -> str:
    """A time in UTC as RFC 3339 with a Z: `2026-03-01T12:00:00Z`; ValueError without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone: {at!r}")
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
