"""Lights that Home Assistant can switch, in rooms of their own; and what they were told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rigs.brokers import Observer
from rigs.homeassistant.hub import Hub, Watch, soon


@dataclass(frozen=True, slots=True)
class Light:
    """One light; `area_id` is the room it is in."""

    entity_id: str
    area_id: str
    topic: str
    listener: Observer

    @property
    def orders(self) -> list[bytes]:
        """What it was told, oldest first."""
        return self.listener.on(self.topic)


@contextmanager
def light_in(room: str, *, hub: Hub, listener: Observer) -> Iterator[Light]:
    """Put a light that Assist may switch into a room, for the length of a block."""
    key = f"livetest-light-{room.lower()}"
    config, topic = f"homeassistant/light/{key}/config", f"livetest/{key}/set"
    entity_id = f"light.{key.replace('-', '_')}"
    announcement = {
        "name": None,
        "unique_id": key,
        "default_entity_id": entity_id,
        "command_topic": topic,
        "device": {"identifiers": [key], "name": f"{room} ceiling"},
    }
    listener.publish(config, json.dumps(announcement), retain=True)
    soon(lambda: hub.state(entity_id), f"{entity_id} exists")
    area_id = _area(hub, room)
    try:
        device_id = hub.ask("config/entity_registry/get", entity_id=entity_id)["device_id"]
        # Home Assistant remembers what an earlier run called it.
        hub.ask(
            "config/device_registry/update", device_id=device_id, area_id=area_id, name_by_user=None
        )
        hub.ask("config/entity_registry/update", entity_id=entity_id, name=None)
        hub.ask(
            "homeassistant/expose_entity",
            assistants=["conversation"],
            entity_ids=[entity_id],
            should_expose=True,
        )
        yield Light(entity_id, area_id, topic, listener)
    finally:
        listener.publish(config, b"", retain=True)
        hub.ask("config/area_registry/delete", area_id=area_id)
        soon(lambda: hub.state(entity_id) is None, f"{entity_id} is gone")


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch that is no MQTT device, so that no broker stands between it and its orders."""

    entity_id: str
    calls: Watch

    @property
    def orders(self) -> list[str]:
        """What it was told, oldest first: `turn_on` or `turn_off`."""
        return [
            call["service"]
            for call in self.calls.data()
            if call["domain"] == "input_boolean"
            and self.entity_id in call["service_data"].get("entity_id", ())
        ]


@contextmanager
def switch_named(name: str, *, hub: Hub, calls: Watch) -> Iterator[Switch]:
    """Have a switch that Assist may use, for the length of a block; `calls`: all of services."""
    made = hub.ask("input_boolean/create", name=name)
    entity_id = f"input_boolean.{made['id']}"
    try:
        soon(lambda: hub.state(entity_id), f"{entity_id} exists")
        hub.ask(
            "homeassistant/expose_entity",
            assistants=["conversation"],
            entity_ids=[entity_id],
            should_expose=True,
        )
        yield Switch(entity_id, calls)
    finally:
        hub.ask("input_boolean/delete", input_boolean_id=made["id"])


def _area(hub: Hub, name: str) -> str:
    for area in hub.ask("config/area_registry/list"):
        if area["name"] == name:
            return str(area["area_id"])
    return str(hub.ask("config/area_registry/create", name=name)["area_id"])
