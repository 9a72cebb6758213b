"""The kinds of value that a configuration key can hold, each with the check behind it."""

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from voice_daemon._lib.names import name_key
from voice_daemon._lib.process import machine_name
from voice_daemon.events import LANGUAGES
from voice_daemon.paths import expand

MAX_NODE_ID_CHARS = 64
MAX_TOPIC_CHARS = 120
MAX_TOPIC_BYTES = 200
"""Leaves room for node and leaf in every broker's topic limit."""
UNNAMED = "voice-daemon"
"""The node id of a machine without a name."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Accepts:
    """A kind of value in words; shown as the remedy for a value that it refuses."""

    text: str


def reduce_host_name(host_name: str) -> str:
    """Reduce the first label to `[a-z0-9_-]`: `Mac-mini.local` -> `mac-mini`."""
    with suppress(ValueError):
        ip_address(host_name)
        return UNNAMED  # given by a network that has no name for this machine: it will change
    label = host_name.split(".", 1)[0].lower()
    return re.sub(r"[^a-z0-9_]+", "-", label).strip("-")[:MAX_NODE_ID_CHARS] or UNNAMED


def host_node_id() -> str:
    """Return this machine's name as a node id."""
    return reduce_host_name(machine_name())


def names_a_path(value: str) -> bool:
    """Tell a path from a model's name: a repository id has none of these marks."""
    is_file = value.lower().endswith((".onnx", ".tflite", ".npz"))
    return is_file or value.startswith(("/", "./", "../", "~"))


def _refuse(message: str) -> PydanticCustomError:
    # The message goes in as a parameter: braces in a value must not read as a template.
    return PydanticCustomError("refused", "{reason}", {"reason": message})


def _node_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]+", value):
        raise _refuse("holds other characters" if value else "is empty")
    return value


def _printing(value: str) -> str:
    if _CONTROL_CHARACTER.search(value):
        raise _refuse("holds a control character")
    return value


def _one_line(value: str) -> str:
    if not value.strip():
        raise _refuse("is empty")
    return _printing(value)


def _host(value: str) -> str:
    # In an address of version 6 the brackets belong to URLs, and are often copied along.
    in_brackets = value.startswith("[") and value.endswith("]")
    bare = value[1:-1].replace("%25", "%") if in_brackets else value
    *_, last = labels = bare.removesuffix(".").split(".")
    if (
        in_brackets
        or re.fullmatch(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.%A-Za-z]*", bare)
        or last.isdecimal()
    ):  # no name ends in a number
        try:
            return str(ip_address(bare))
        except ValueError:
            raise _refuse("is not an address") from None
    if not all(map(_LABEL.fullmatch, labels)):
        raise _refuse("is not a host name or an address")
    return bare


def _topic(value: str) -> str:
    if "+" in value or "#" in value:
        raise _refuse("holds a wildcard, and one cannot publish to those")
    if value.startswith("$"):
        raise _refuse("begins with $, which brokers keep for themselves")
    if not all(value.split("/")):
        raise _refuse("has an empty level")
    if len(value.encode()) > MAX_TOPIC_BYTES:
        raise _refuse(f"is longer than {MAX_TOPIC_BYTES} bytes")
    if not _printing(value).isprintable():
        raise _refuse("holds a character that cannot be printed")
    return value


def _language(value: str) -> str:
    code = value.lower()
    if code != "auto" and code not in LANGUAGES:
        raise _refuse("is not a language code that Whisper knows")
    return code


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if any(value.startswith("[") for value in values):
        raise _refuse("is written as JSON; write the names with commas between them")
    if len({*map(_spelling, values)}) < len(values):
        raise _refuse("names the same one twice")
    return values


def _spelling(name: str) -> str:
    """Give what all spellings of a wake word share: "Hey Jarvis", "hey_jarvis"."""
    return name if names_a_path(name) else re.sub(r"[ -]", "_", name_key(name))


def _kinds(values: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds of entities as Home Assistant writes them: "Lock" would protect nothing."""
    kinds = tuple(_spelling(value) for value in values)
    if not all(re.fullmatch(r"[a-z0-9_]+", kind) for kind in kinds):
        raise _refuse("holds something that is not a kind of entity")
    return kinds


def _scores(values: dict[str, float]) -> dict[str, float]:
    _distinct(tuple(values))
    return values


def _score_of(value: object) -> object:
    """Part the text of a variable: "alexa=0.7,okay_house=0.9"."""
    if not isinstance(value, str):
        return value
    pairs = (item.split("=") for item in value.split(",") if item.strip())
    return {word.strip(): score[0] if score else "" for word, *score in pairs}


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _path(value: object) -> object:
    return expand(_printing(value)) if isinstance(value, str) else value


NodeId = Annotated[
    str,
    Field(max_length=MAX_NODE_ID_CHARS),
    AfterValidator(_node_id),
    Accepts(f"1 to {MAX_NODE_ID_CHARS} of the characters a-z, 0-9, _ and -"),
]
Line = Annotated[str, Field(max_length=1000), AfterValidator(_one_line), Accepts("a line of text")]
Words = Annotated[
    str,
    Field(max_length=200),
    AfterValidator(_printing),
    Accepts('a line of at most 200 characters, or "" for none'),
]
Host = Annotated[
    str,
    Field(max_length=253),
    AfterValidator(_host),
    Accepts("a host name or address alone, without scheme, user or port"),
]
Topic = Annotated[
    str,
    Field(max_length=MAX_TOPIC_CHARS),
    AfterValidator(_topic),
    Accepts(f"a topic of at most {MAX_TOPIC_CHARS} characters, such as home/voice"),
]
Language = Annotated[
    str,
    AfterValidator(_language),
    Accepts('a code such as "en" or "de", or "auto"'),
]
Names = Annotated[
    tuple[Line, ...],
    Field(min_length=1, max_length=8, strict=False),
    AfterValidator(_distinct),
    Accepts("a list of 1 to 8 different names or paths"),
]
Scores = Annotated[
    dict[Line, Annotated[float, Field(ge=0.01, le=0.99, strict=False)]],
    Field(max_length=32),
    BeforeValidator(_score_of),
    AfterValidator(_scores),
    Accepts("a score from 0.01 to 0.99 for each of up to 32 words, such as { alexa = 0.7 }"),
]
Domains = Annotated[
    tuple[Line, ...],
    Field(max_length=32, strict=False),
    AfterValidator(_distinct),
    AfterValidator(_kinds),
    Accepts("a list of at most 32 different kinds of entities, such as lock"),
]
OptionalLine = Annotated[
    Line | None, BeforeValidator(_empty_is_none), Accepts('a line of text, or "" for none')
]
OptionalPath = Annotated[
    Path | None,
    BeforeValidator(_path),
    BeforeValidator(_empty_is_none),
    Accepts('a path, or "" for none'),
]
