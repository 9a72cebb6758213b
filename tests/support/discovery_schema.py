"""Home Assistant's rules for a device's discovery message, as strictly as they can be read.

From its documentation of MQTT discovery and of each platform; keys that we don't use are left
out, so a key that is not here is a mistake until somebody has looked it up.
"""

from __future__ import annotations

import re
from typing import Any

ENTITY = {"platform", "unique_id", "name", "qos"}
"""Every entity must have these, or it cannot be renamed, or is called after its platform."""
ENTITY_MAY = {
    "default_entity_id",
    "object_id",
    "icon",
    "entity_category",
    "enabled_by_default",
    "device_class",
    "state_topic",
    "value_template",
    "json_attributes_topic",
    "json_attributes_template",
}
MUST = {
    "event": {"state_topic", "event_types"},
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "switch": {"command_topic"},
    "button": {"command_topic"},
    "notify": {"command_topic"},
    "select": {"command_topic", "options"},
    "number": {"command_topic"},
}
MAY = {
    "event": set(),
    "sensor": {
        *("expire_after", "options", "state_class", "suggested_display_precision"),
        "unit_of_measurement",
    },
    "binary_sensor": {"expire_after", "payload_on", "payload_off"},
    "switch": {"payload_on", "payload_off"},
    "button": {"payload_press"},
    "notify": {"command_template"},
    "select": {"command_template"},
    "number": {"min", "max", "step", "mode", "unit_of_measurement"},
}
CLASSES = {
    "event": {"button", "doorbell", "motion"},
    "sensor": {"enum", "duration"},
    "binary_sensor": {"running", "problem"},
    "switch": {"switch", "outlet"},
    "button": {"identify", "restart", "update"},
    "notify": set(),
    "select": set(),
    "number": {"duration"},
}
CATEGORIES = {
    "event": {"diagnostic"},
    "sensor": {"diagnostic"},  # `config` is refused: it cannot be set
    "binary_sensor": {"diagnostic"},
    "switch": {"config"},
    "button": {"config", "diagnostic"},
    "select": {"config"},
    "number": {"config"},
}
TRIGGER = {"platform", "automation_type", "type", "subtype", "topic"}
TRIGGER_MAY = {"payload", "value_template", "qos"}
ROOT = {"device", "origin", "components"}
ROOT_MAY = {"availability_topic", "payload_available", "payload_not_available"}
DEVICE = {"identifiers", "name"}
DEVICE_MAY = {
    *("manufacturer", "model", "model_id", "sw_version", "hw_version"),
    *("configuration_url", "suggested_area"),
}
ORIGIN = {"name"}
ORIGIN_MAY = {"sw_version", "support_url"}

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ENTITY_ID = re.compile(r"[a-z_]+\.[a-z0-9]+(_[a-z0-9]+)*")


def faults(message: dict[str, Any]) -> list[str]:
    """Give everything that Home Assistant would refuse, or take and not understand."""
    found = _keys("message", message, must=ROOT, may=ROOT_MAY)
    found += _keys("device", message["device"], must=DEVICE, may=DEVICE_MAY)
    found += _keys("origin", message["origin"], must=ORIGIN, may=ORIGIN_MAY)
    for name, component in message["components"].items():
        if not _NAME.fullmatch(name):
            found.append(f"{name}: not a name")
        if component["platform"] == "device_automation":
            found += _keys(name, component, must=TRIGGER, may=TRIGGER_MAY)
        else:
            found += _entity_faults(name, component)
    ids = [c["unique_id"] for c in message["components"].values() if "unique_id" in c]
    return found + [f"{one}: not unique" for one in set(ids) if ids.count(one) > 1]


def _entity_faults(name: str, entity: dict[str, Any]) -> list[str]:
    platform = entity["platform"]
    if platform not in MUST:
        return [f"{name}: platform {platform}"]
    must, may = ENTITY | MUST[platform], ENTITY_MAY | MAY[platform]
    found = _keys(name, entity, must=must, may=may)
    for key, allowed in (("device_class", CLASSES), ("entity_category", CATEGORIES)):
        if key in entity and entity[key] not in allowed[platform]:
            found.append(f"{name}: {key} {entity[key]}")
    entity_id = entity.get("default_entity_id", "")
    if not _ENTITY_ID.fullmatch(entity_id) or not entity_id.startswith(f"{platform}."):
        found.append(f"{name}: default_entity_id {entity_id}")
    elif entity.get("object_id") != entity_id.partition(".")[2]:
        found.append(f"{name}: object_id is another")
    return found + _value_faults(name, entity)


def _value_faults(name: str, entity: dict[str, Any]) -> list[str]:
    found = []
    if entity.get("device_class") == "enum" and not entity.get("options"):
        found.append(f"{name}: an enum without options")
    if entity.get("device_class") == "duration" and entity.get("unit_of_measurement") not in (
        *("d", "h", "min", "s", "ms"),
    ):
        found.append(f"{name}: a duration without its unit")
    if entity["platform"] == "number" and not (
        entity["min"] < entity["max"] and entity["step"] >= 0.001
    ):
        found.append(f"{name}: its range")
    if "json_attributes_template" in entity and "json_attributes_topic" not in entity:
        found.append(f"{name}: a template without its topic")
    if entity["qos"] not in (0, 1, 2):
        found.append(f"{name}: qos {entity['qos']}")
    icon = entity.get("icon", "mdi:x")
    return found if re.fullmatch(r"mdi:[a-z-]+", icon) else [*found, f"{name}: icon {icon}"]


def _keys(where: str, mapping: dict[str, Any], *, must: set[str], may: set[str]) -> list[str]:
    missing = [f"{where}: no {key}" for key in sorted(must - mapping.keys())]
    unknown = [f"{where}: unknown {key}" for key in sorted(mapping.keys() - must - may)]
    return missing + unknown
