"""What is said to Home Assistant and heard from it, outside the node's own topics."""

from __future__ import annotations

from tools.asyncapi.catalogue import Entry
from tools.asyncapi.schemas import words

DISCOVERY = {
    "type": "object",
    "required": ["device", "origin", "components"],
    "properties": {
        "device": {
            "type": "object",
            "required": ["identifiers", "name"],
            "properties": {
                "identifiers": {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    ]
                },
                "name": {"type": "string"},
            },
        },
        "origin": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
        },
        "components": {
            "type": "object",
            "description": "By name; `platform` alone takes a component away.",
            "additionalProperties": {
                "type": "object",
                "required": ["platform"],
                "properties": {
                    "platform": {"type": "string"},
                    "unique_id": {"type": "string"},
                },
            },
        },
    },
}
"""Home Assistant's device discovery; what it leaves open is left open."""


TOLD_TO_IT = (
    Entry(
        "homeAssistantDevice",
        "{prefix}/device/{node}/config",
        "Home Assistant's device discovery; an empty payload removes the device.",
        DISCOVERY,
        retain=True,
    ),
)
"""The announcement of the device. Its many components are Home Assistant's, not an interface."""

HEARD_FROM_IT = (
    Entry(
        "homeAssistantStatus",
        "{prefix}/status",
        "Home Assistant started (`online`), or stops; the topic is `homeassistant.status_topic`.",
        words("online", "offline"),
        example="online",
        qos=0,
        is_text=True,
    ),
)
"""What makes the daemon announce itself again."""
