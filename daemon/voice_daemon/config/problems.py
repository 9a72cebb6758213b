"""A mistake in the configuration, and the error that carries all of them."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from voice_daemon._lib.terminal import printable
from voice_daemon.config.values import Accepts
from voice_daemon.errors import ConfigError

MAX_SHOWN_CHARS = 80
MASK = "***"

_UNITS = {"_ms": "milliseconds", "_s": "seconds", "_db": "decibels", "_mb": "megabytes"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token")


def toml_value(value: object) -> str:
    """Write a value as TOML; None, which TOML lacks, is the empty string."""
    match value:
        case None | str() | Path():
            # JSON's escapes are a subset of TOML's, but for DEL, which TOML forbids bare.
            plain = "" if value is None else str(value)
            return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list() | tuple():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case dict() if all(isinstance(item, float) for item in value.values()):
            pairs = (f"{_toml_key(key)} = {toml_value(item)}" for key, item in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            # Of any other table nothing is shown: it may hold a secret.
            return "{...}" if isinstance(value, dict) else str(value)


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def is_secret(key: str) -> bool:
    """Tell whether a key that is none of ours looks as if it named a secret inline."""
    return any(word in key.lower() for word in _SECRET_WORDS)


def shown(key: str, value: object) -> str:
    """Write a value for a message: short, on one line and without secrets."""
    if is_secret(key) and not key.lower().endswith("_file"):
        return MASK
    if isinstance(value, str) and "@" in value:
        value = MASK + value[value.rindex("@") :]  # user:password@host
    text = toml_value(value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 1] + "…"


def unit(key: str) -> str:
    """Return the unit that a key's name ends in, in words; empty where it has none."""
    return next((words for suffix, words in _UNITS.items() if key.endswith(suffix)), "")


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the words that a key may hold; empty where it is not a choice of words."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def bounds(field: FieldInfo) -> tuple[float, float] | None:
    """Return the least and the greatest number that a key may hold; None for other kinds."""
    least = [mark.ge for mark in field.metadata if isinstance(mark, Ge)]
    greatest = [mark.le for mark in field.metadata if isinstance(mark, Le)]
    return (_number(least[0]), _number(greatest[0])) if least and greatest else None


def accepted(key: str, field: FieldInfo) -> str:
    """Say what a key accepts: `a whole number from 0 to 3000 (milliseconds)`."""
    words = choices(field)
    if words:
        return " or ".join(toml_value(word) for word in words)
    limits = bounds(field)
    if limits:
        kind = "a whole number" if field.annotation is int else "a number"
        suffix = f" ({unit(key)})" if unit(key) else ""
        return f"{kind} from {limits[0]:g} to {limits[1]:g}{suffix}"
    if field.annotation is bool:
        return "true or false"
    said = [mark.text for mark in field.metadata if isinstance(mark, Accepts)]
    return said[-1] if said else "text in quotes"


def kind(field: FieldInfo) -> str:
    """Name the kind of value that a key needs, for a value of another kind."""
    annotation: Any = field.annotation
    for type_, words in ((bool, "true or false"), (int, "a whole number"), (float, "a number")):
        if annotation is type_:
            return words
    if get_origin(annotation) is tuple:
        return "a list of texts"
    return "a text or nothing" if NoneType in get_args(annotation) else "a text in quotes"


def _number(limit: Any) -> float:
    return float(limit)


ENVIRONMENT = "environment"
"""Stands for the file where a value came from a variable."""


@dataclass(frozen=True, slots=True)
class Mistake:
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
        return printable(line)


class ConfigProblems(ConfigError):  # noqa: N818 - it carries many errors, as its name says
    """Everything that is wrong with the configuration; the message has one line for each."""

    def __init__(self, problems: Sequence[Mistake]) -> None:
        super().__init__(
            "config.invalid", "\n".join(str(problem) for problem in problems), remedy=""
        )
        self.problems = tuple(problems)


def key_name(section: str, key: str) -> str:
    """`[wake] threshold`, or the bare key at the top level; short, as a stranger's may be long."""
    key = key if len(key) <= MAX_SHOWN_CHARS else key[: MAX_SHOWN_CHARS - 1] + "…"
    key = key or '""'
    return f"[{section}] {key}" if section else key


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one resembles most; None when none does."""
    plain = name.lower().replace("-", "_")
    by_plain = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.65)
    return by_plain[found[0]] if found else None
