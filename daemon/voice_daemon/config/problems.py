"""A mistake in the configuration, and the error that carries all of them.

Knows how a mistake reads, and how to guess what a misspelt name was meant to be; not how
mistakes are found.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_daemon.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ENVIRONMENT = "environment"
"""Stands for the file where a value came from a variable."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake; `str()` of it is one line for a person."""

    file: str
    """The file, with its line where only that is known, or `ENVIRONMENT`."""
    key: str
    """`[wake] threshold`, a variable's name, or empty when the file itself is at fault."""
    value: str
    """As it was written, without secrets; empty where there is none."""
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        value = f" = {self.value}" if self.value else ""
        line = f"{place}{value}: {self.message}; {self.remedy}"
        # What was written may hold line breaks and worse; a terminal gets their escapes.
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


class ConfigProblems(ConfigError):  # noqa: N818 - it carries many errors, as its name says
    """Everything that is wrong with the configuration; the message has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "config.invalid", "\n".join(str(problem) for problem in problems), remedy=""
        )
        self.problems = tuple(problems)


def key_name(section: str, key: str) -> str:
    """`[wake] threshold`, or the bare key at the top level."""
    return f"[{section}] {key}" if section else key


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one resembles most; None when none does."""
    plain = name.lower().replace("-", "_")
    by_plain = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.65)
    return by_plain[found[0]] if found else None
