"""The device as Home Assistant's MQTT discovery wants it: one message with every entity.

A pure function of a `Device`. Knows nothing of when it is sent or of what was sent before.

Every component carries its own `qos`: of the message's own keys, Home Assistant hands only
availability and topics down to them. `object_id` is for versions before 2025.10, which do not
know `default_entity_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_daemon.events import State
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics, encode_json

ORIGIN: Final = "voice-daemon"
MAX_STATE_CHARS: Final = 255
"""A longer state is `unknown` to Home Assistant."""
HEALTH_IS_OLD_S: Final = 180
"""Three reports missed."""
SILENCE_STEP_MS: Final = 50
THRESHOLD_STEP: Final = 0.01

Component = dict[str, Any]


ONCE: Final = (
    "{% set last = this.attributes %}"
    "{% set ahead_s = as_timestamp(last.get('at'), 0) - as_timestamp(value_json.at, 0) %}"
    "{% set known = last.get('session_id') == value_json.session_id"
    " and last.get('seq') == value_json.seq %}"
    "{{ '' if known or 0 < ahead_s < 60 else value }}"
)
"""Leaves a final out that is sent again: the last one, or one said before it. Home Assistant
takes an empty value for no event, and keeps the last one's attributes over its own restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Description of the device, as it is announced."""

    topics: Topics
    prefix: str
    """Home Assistant's discovery prefix."""
    version: str
    model: str
    """The recogniser's."""
    wake_words: tuple[str, ...]
    """Wake words to choose from."""
    threshold_range: tuple[float, float]
    silence_range_ms: tuple[int, int]
    area: str = ""
    """The room that it stands in; "" for nobody said."""


def config_topic(prefix: str, node: str) -> str:
    """Give the topic of a node's announcement."""
    return f"{prefix}/device/{node}/config"


def announcement(device: Device, *, dropped: Mapping[str, str] | None = None) -> MqttMessage:
    """Give the retained message; `dropped`: platforms of components that are no more."""
    node = device.topics.node
    body = {
        "device": {
            "identifiers": [f"voice_daemon_{node}"],
            "name": f"Voice {node}",
            "manufacturer": "voice-daemon",
            "model": "Streaming voice recogniser",
            "model_id": device.model,
            "sw_version": device.version,
            **({"suggested_area": device.area} if device.area else {}),
        },
        "origin": {"name": ORIGIN, "sw_version": device.version},
        "availability_topic": device.topics.path(Leaf.AVAILABILITY),
        "payload_available": "online",
        "payload_not_available": "offline",
        "components": {
            **components(device),
            **{name: {"platform": platform} for name, platform in (dropped or {}).items()},
        },
    }
    return MqttMessage(config_topic(device.prefix, node), encode_json(body), retain=True)


def components(device: Device) -> dict[str, Component]:
    """Give every component, by the name that it keeps from version to version."""
    events = {**_events(device), "wake_trigger": _trigger(device)}
    entities = {**_states(device), **_controls(device), **_diagnostics(device)}
    return {
        name: component
        if component["platform"] == "device_automation"
        else _identified(name, component, device.topics.node)
        for name, component in {**events, **entities}.items()
    }


def _identified(name: str, component: Component, node: str) -> Component:
    """Add what every entity needs: an identity, and the id that automations are written against."""
    entity = f"voice_{node.replace('-', '_')}_{name}"
    return {
        **component,
        "unique_id": f"voice_daemon_{node}_{name}",
        "default_entity_id": f"{component['platform']}.{entity}",
        "object_id": entity,
        "qos": 1,
    }


def _events(device: Device) -> dict[str, Component]:
    final, wake = device.topics.path(Leaf.FINAL), device.topics.path(Leaf.WAKE)
    partial = device.topics.path(Leaf.PARTIAL)
    return {
        "transcript": {
            "platform": "event",
            "name": "Transcript",
            "icon": "mdi:message-text",
            "event_types": ["final"],
            "state_topic": final,
            "value_template": ONCE,
        },
        "wake": {
            "platform": "event",
            "name": "Wake word heard",
            "icon": "mdi:account-voice",
            "event_types": ["detected"],
            "state_topic": wake,
        },
        # Off by default: it says again what the event says, and both would be recorded.
        "last_transcript": {
            "platform": "sensor",
            "name": "Last transcript",
            "icon": "mdi:text-recognition",
            "state_topic": final,
            "value_template": f"{{{{ value_json.text[:{MAX_STATE_CHARS}] }}}}",
            "json_attributes_topic": final,
            "enabled_by_default": False,
        },
        "words": {
            "platform": "sensor",
            "name": "Words being spoken",
            "icon": "mdi:text-long",
            "state_topic": partial,
            "value_template": "{{ (value_json.text ~ value_json.draft)"
            f"[-{MAX_STATE_CHARS}:] | trim }}}}",
            "json_attributes_topic": partial,
        },
    }


def _trigger(device: Device) -> Component:
    return {
        "platform": "device_automation",
        "automation_type": "trigger",
        "type": "wake_word",
        "subtype": "detected",
        "topic": device.topics.path(Leaf.WAKE),
        "value_template": "{{ value_json.event_type }}",
        "payload": "detected",
        "qos": 1,
    }


def _states(device: Device) -> dict[str, Component]:
    state, health = device.topics.path(Leaf.STATE), device.topics.path(Leaf.HEALTH)
    busy = [State.LISTENING.value, State.TRANSCRIBING.value]
    return {
        "state": {
            "platform": "sensor",
            "name": "State",
            "icon": "mdi:state-machine",
            "device_class": "enum",
            "options": [state.value for state in State],
            "state_topic": state,
        },
        "listening": {
            "platform": "binary_sensor",
            "name": "Listening",
            "icon": "mdi:ear-hearing",
            "device_class": "running",
            "state_topic": state,
            "value_template": f"{{{{ 'ON' if value in {busy} else 'OFF' }}}}",
            "payload_on": "ON",
            "payload_off": "OFF",
        },
        "microphone_problem": {
            "platform": "binary_sensor",
            "name": "Microphone problem",
            "icon": "mdi:microphone-question",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": health,
            "value_template": "{{ 'ON' if value_json.mic_problem else 'OFF' }}",
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": health,
            "json_attributes_template": "{{ {'reason': value_json.mic_problem} | tojson }}",
            "expire_after": HEALTH_IS_OLD_S,
        },
    }


def _controls(device: Device) -> dict[str, Component]:
    least, greatest = device.threshold_range
    shortest_ms, longest_ms = device.silence_range_ms
    return {
        "mute": {
            "platform": "switch",
            "name": "Mute",
            "icon": "mdi:microphone-off",
            "entity_category": "config",
            **_setting(device, "mute"),
            "payload_on": "ON",
            "payload_off": "OFF",
        },
        "listen": {
            "platform": "button",
            "name": "Listen now",
            "icon": "mdi:microphone",
            "command_topic": device.topics.command("listen"),
            "payload_press": "PRESS",
        },
        "cancel": {
            "platform": "button",
            "name": "Cancel",
            "icon": "mdi:close-circle-outline",
            "command_topic": device.topics.command("cancel"),
            "payload_press": "PRESS",
        },
        "wake_word": {
            "platform": "select",
            "name": "Wake word",
            "icon": "mdi:account-voice",
            "entity_category": "config",
            **_setting(device, "wake_word"),
            "options": list(device.wake_words),
        },
        "wake_threshold": {
            "platform": "number",
            "name": "Wake word threshold",
            "icon": "mdi:tune-vertical",
            "entity_category": "config",
            **_setting(device, "wake_threshold"),
            "min": least,
            "max": greatest,
            "step": THRESHOLD_STEP,
            "mode": "slider",
        },
        "silence_ms": {
            "platform": "number",
            "name": "Silence that ends a command",
            "icon": "mdi:timer-sand",
            "entity_category": "config",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            **_setting(device, "silence_ms"),
            "min": shortest_ms,
            "max": longest_ms,
            "step": SILENCE_STEP_MS,
            "mode": "box",
        },
    }


def _setting(device: Device, name: str) -> Component:
    return {
        "state_topic": device.topics.setting_state(name),
        "command_topic": device.topics.setting(name),
    }


def _diagnostics(device: Device) -> dict[str, Component]:
    def gauge(name: str, icon: str, key: str, **more: object) -> Component:
        return {
            "platform": "sensor",
            "name": name,
            "icon": icon,
            "entity_category": "diagnostic",
            "state_topic": device.topics.path(Leaf.HEALTH),
            "value_template": f"{{{{ value_json.{key} }}}}",
            "enabled_by_default": False,
            "expire_after": HEALTH_IS_OLD_S,
            **more,
        }

    return {
        "rtf": gauge(
            "Real-time factor",
            "mdi:speedometer",
            "rtf",
            state_class="measurement",
            suggested_display_precision=2,
        ),
        "uptime": gauge(
            "Uptime",
            "mdi:clock-outline",
            "uptime_s",
            device_class="duration",
            unit_of_measurement="s",
            state_class="measurement",
        ),
        "reconnects": gauge(
            "Broker reconnects",
            "mdi:lan-disconnect",
            "mqtt_reconnects",
            state_class="total_increasing",
        ),
        "names_known": {
            "platform": "sensor",
            "name": "Names known",
            "icon": "mdi:tag-text-outline",
            "entity_category": "diagnostic",
            "state_class": "measurement",
            "state_topic": device.topics.path(Leaf.VOCABULARY_STATE),
            "value_template": "{{ value_json.names }}",
            "json_attributes_topic": device.topics.path(Leaf.VOCABULARY_STATE),
        },
    }
