"""The AsyncAPI 3.0 document: channels, operations and messages, made of catalogue entries.

Knows nothing of where the entries come from.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from tools.asyncapi.catalogue import VERBS, Entry, received, sent
from tools.asyncapi.home_assistant import HEARD_FROM_IT, TOLD_TO_IT
from voice_daemon import __version__

HEAD = "# Made by scripts/make-asyncapi from the code. Do not edit.\n"
PARAMETERS: dict[str, dict[str, Any]] = {
    "base": {"description": "`mqtt.base_topic`.", "default": "voice"},
    "node": {"description": "`node_id`: the host name, reduced to a-z, 0-9, _ and -."},
    "verb": {"description": "The command that is answered.", "enum": list(VERBS)},
    "wake_word": {"description": "The wake word, as far as a topic can hold it."},
    "prefix": {"description": "`homeassistant.prefix`.", "default": "homeassistant"},
}


def document() -> dict[str, Any]:
    """Give the whole document."""
    told = (*sent(), *TOLD_TO_IT)
    heard = (*received(), *HEARD_FROM_IT)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "voice-daemon",
            "version": __version__,
            "description": "Wake word to MQTT transcripts. docs/mqtt.md says what is promised.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:{port}",
                "protocol": "mqtt",
                "description": "MQTT 5, or 3.1.1 where the broker knows no better.",
                "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "1883"}},
            }
        },
        "channels": _channels((*told, *heard)),
        "operations": {
            **{_operation_name("send", e): _operation("send", e) for e in told},
            **{_operation_name("receive", e): _operation("receive", e) for e in heard},
        },
        "components": {
            "parameters": PARAMETERS,
            "messages": {entry.name: _message(entry) for entry in (*told, *heard)},
        },
    }


def as_yaml() -> str:
    """Give the document as it is committed."""
    text = yaml.dump(document(), Dumper=_NoAliases, sort_keys=False, allow_unicode=True, width=100)
    return f"{HEAD}{text}"


class _NoAliases(yaml.SafeDumper):  # type: ignore[misc] # it carries no types
    """Writes equal parts out each time: anchors are no help to a reader."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def channel_name(topic: str) -> str:
    """`{base}/{node}/transcript/final` -> `transcript_final`."""
    levels = [level for level in topic.split("/") if level not in {"{base}", "{node}"}]
    if topic == "{base}/vocabulary":
        levels.append("of_all")  # the only one that a node has in a form of its own
    return re.sub(r"[^A-Za-z0-9_]", "", "_".join(levels))


def _channels(entries: tuple[Entry, ...]) -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for entry in entries:
        named = re.findall(r"\{(\w+)\}", entry.topic)
        channel = channels.setdefault(
            channel_name(entry.topic),
            {"address": entry.topic, "messages": {}},
        )
        channel["messages"][entry.name] = {"$ref": f"#/components/messages/{entry.name}"}
        if named:
            channel["parameters"] = {
                name: {"$ref": f"#/components/parameters/{name}"} for name in named
            }
    return channels


def _operation_name(action: str, entry: Entry) -> str:
    return f"{action}{entry.name[0].upper()}{entry.name[1:]}"


def _operation(action: str, entry: Entry) -> dict[str, Any]:
    channel = channel_name(entry.topic)
    bindings: dict[str, Any] = {"qos": entry.qos}
    if action == "send":
        bindings["retain"] = entry.retain
    if entry.expiry_s is not None:
        bindings["messageExpiryInterval"] = math.ceil(entry.expiry_s)
    return {
        "action": action,
        "summary": entry.summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{entry.name}"}],
        "bindings": {"mqtt": {**bindings, "bindingVersion": "0.2.0"}},
    }


def _message(entry: Entry) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": entry.name,
        "summary": entry.summary,
        "contentType": "text/plain" if entry.is_text else "application/json",
        "payload": entry.schema,
    }
    if entry.example is not None:
        message["examples"] = [{"payload": entry.example}]
    return message
