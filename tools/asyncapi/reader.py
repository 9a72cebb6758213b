"""The document as a client reads it: which messages may be on a topic, and whether one is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

Document = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """Reads one document for one set of parameters, such as base and node."""

    document: Document
    parameters: Mapping[str, str]

    def resolve(self, reference: Mapping[str, str]) -> Any:
        """Give what a `$ref` points at."""
        found: Any = self.document
        for level in reference["$ref"].removeprefix("#/").split("/"):
            found = found[level]
        return self.resolve(found) if "$ref" in found else found

    def channel(self, topic: str) -> str | None:
        """Give the channel of a topic, None when the document knows none."""
        for name, channel in self.document["channels"].items():
            if re.fullmatch(self._pattern(channel["address"]), topic):
                return str(name)
        return None

    def operation(self, action: str, message: str) -> Document:
        """Give the operation that sends or receives a message."""
        for operation in self.document["operations"].values():
            (told,) = operation["messages"]
            if operation["action"] == action and told["$ref"].endswith(f"/{message}"):
                return dict(operation)
        raise KeyError(f"{action} {message}")

    def message(self, topic: str, payload: bytes) -> str:
        """Give the name of the one message that this is; fails with what is wrong otherwise."""
        name = self.channel(topic)
        assert name is not None, f"no channel for {topic}"
        faults: dict[str, str] = {}
        for message_name, reference in self.document["channels"][name]["messages"].items():
            message = self.resolve(reference)
            text = payload.decode()
            value = text if message["contentType"] == "text/plain" else json.loads(text)
            error = jsonschema.exceptions.best_match(
                jsonschema.Draft7Validator(message["payload"]).iter_errors(value)
            )
            if error is None:
                return str(message_name)
            faults[message_name] = error.message
        raise AssertionError(f"{topic} {payload!r}: {faults}")

    def _pattern(self, address: str) -> str:
        parts = re.split(r"\{(\w+)\}", address)
        for i in range(1, len(parts), 2):
            parts[i] = re.escape(self.parameters.get(parts[i], "")) or "[^/]+"
        parts[::2] = map(re.escape, parts[::2])
        return "".join(parts)
