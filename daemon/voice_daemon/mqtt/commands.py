"""Reads commands from topic and payload, and builds the answers.

A payload is nothing, a bare word (`ON`, `0.6`) or a JSON object with `value` and `transaction`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from voice_daemon.errors import BrokerError
from voice_daemon.mqtt.topics import SCHEMA, MqttMessage, Topics, encode_json

MAX_COMMAND_BYTES: Final = 1024
MAX_TRANSACTION_CHARS: Final = 128
RESPONSE_EXPIRY_S: Final = 10.0
"""Whoever asked has given up by then."""

_VERB = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TRUE = frozenset({"on", "true", "1", "yes"})
_FALSE = frozenset({"off", "false", "0", "no"})

Scalar = str | int | float | bool
"""A value that a command can carry."""


class Kind(StrEnum):
    """The two topic forms of a command."""

    CALL = "cmd"
    """`cmd/<verb>`, answered on `response/<verb>`."""
    SETTING = "set"
    """`<verb>/set`, answered by the retained `<verb>/state`."""


class CommandError(BrokerError):
    """A command that cannot be carried out; `command` says which, as far as it was read."""

    def __init__(self, code: str, message: str, *, remedy: str, command: Command) -> None:
        super().__init__(code, message, remedy=remedy)
        self.command = command


@dataclass(frozen=True, slots=True)
class Command:
    """One request. `value` is None when the payload gave none."""

    verb: str
    transaction: str | int | None = None
    value: Scalar | None = None
    kind: Kind = Kind.CALL

    @property
    def is_named(self) -> bool:
        """True when the verb can stand in a topic of ours, an answer's."""
        return _VERB.fullmatch(self.verb) is not None

    def flag(self) -> bool:
        """Read the value as on or off; raises `CommandError` when it is neither."""
        word = str(self.value).casefold()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise self.refusal("command.bad_value", f"value {self.value!r} is not ON or OFF")

    def number(self) -> float:
        """Read the value as a finite number; raises `CommandError` when it is none."""
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            try:
                number = float(self.value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        raise self.refusal("command.bad_value", f"value {self.value!r} is not a number")

    def unknown(self, known: Collection[str]) -> CommandError:
        """Build the error for a verb that is none of `known`."""
        near = difflib.get_close_matches(self.verb, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
        return self.refusal("command.unknown", "there is no such command", remedy=remedy)

    def refusal(self, code: str, why: str, *, remedy: str = "") -> CommandError:
        """Build an error about this command whose message names its topic."""
        topic = f"cmd/{self.verb}" if self.kind is Kind.CALL else f"{self.verb}/set"
        remedy = remedy or 'send a bare word, or JSON such as {"value":"ON","transaction":"1"}'
        return CommandError(code, f"{topic}: {why}", remedy=remedy, command=self)


def parse_command(topic: str, payload: bytes, *, topics: Topics) -> Command | None:
    """Read a message as a command; None for one that is not for us. Raises `CommandError`."""
    bare = _addressed(topic, topics)
    if bare is None:
        return None
    if not bare.is_named:
        raise bare.refusal("command.bad_topic", "that is not a command's name")
    if len(payload) > MAX_COMMAND_BYTES:
        raise bare.refusal(
            "command.too_long", f"{len(payload)} bytes, at most {MAX_COMMAND_BYTES} are read"
        )
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise bare.refusal("command.not_utf8", "the payload is not UTF-8") from error
    if text.startswith("{"):
        return _from_object(_load_json(text, bare), bare)
    return replace(bare, value=_bare_value(text, bare))


def response_message(
    command: Command,
    *,
    topics: Topics,
    data: Mapping[str, Any] | None = None,
    error: BrokerError | None = None,
) -> MqttMessage:
    """Answer a `cmd/<verb>`, echoing its transaction; `error` says that it failed."""
    document: dict[str, Any] = {"schema": SCHEMA, "status": "error" if error else "ok"}
    if error:
        document["error"] = error.to_dict()
    else:
        document["data"] = dict(data or {})
    document["transaction"] = command.transaction
    return MqttMessage(
        topics.response(command.verb), encode_json(document), expiry_s=RESPONSE_EXPIRY_S
    )


def _addressed(topic: str, topics: Topics) -> Command | None:
    """Give kind and verb of one of our command topics, nothing else filled in."""
    prefix = f"{topics.root}/"
    if not topic.startswith(prefix):
        return None
    match topic.removeprefix(prefix).split("/"):
        case [Kind.CALL.value, verb]:
            return Command(verb, kind=Kind.CALL)
        case [name, Kind.SETTING.value]:
            return Command(name, kind=Kind.SETTING)
    return None


def _load_json(text: str, bare: Command) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bare.refusal("command.bad_json", "the payload is not valid JSON") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _from_object(document: dict[str, Any], bare: Command) -> Command:
    unknown = sorted(document.keys() - {"value", "transaction"})
    if unknown:
        raise bare.refusal("command.unknown_key", f"unknown key {unknown[0]!r}")
    transaction = document.get("transaction")
    if isinstance(transaction, str):
        valid = len(transaction) <= MAX_TRANSACTION_CHARS
    else:
        # Not isinstance: to Python `true` is an integer.
        valid = transaction is None or type(transaction) is int
    if not valid:
        raise bare.refusal(
            "command.bad_transaction",
            f"transaction is not an integer or a text of at most {MAX_TRANSACTION_CHARS}",
        )
    command = replace(bare, transaction=transaction)
    value = document.get("value")
    if value is not None and not isinstance(value, str | int | float):
        raise command.refusal("command.bad_value", "value is not a text, a number or a flag")
    return replace(command, value=value)


def _bare_value(text: str, bare: Command) -> Scalar | None:
    """`ON` stays a word; `true`, `0.6` and `"ON"` are read as JSON would."""
    if not text:
        return None
    try:
        # NaN and Infinity stay words, as they are no JSON.
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        value = text
    if value is None or not isinstance(value, str | int | float):
        raise bare.refusal("command.bad_value", "value is not a text, a number or a flag")
    if isinstance(value, str) and not value.isprintable():
        raise bare.refusal("command.bad_value", "value holds a character that cannot be printed")
    return value
