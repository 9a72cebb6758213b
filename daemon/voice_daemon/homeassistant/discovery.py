"""The device as Home Assistant's MQTT discovery wants it: one message with every entity.

A pure function of a `Device`. Knows nothing of when it is sent or of what was sent before.

Every component carries its own `qos`: of the message's own keys, Home Assistant hands only
availability and topics down to them. `object_id` is for versions before 2025.10, which do not
know `default_entity_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from voice_daemon import PROJECT_URL
from voice_daemon.events import EndReason, Event, SessionEnded, State, TranscriptPartial
from voice_daemon.mqtt.topics import SCHEMA, Leaf, MqttMessage, Topics, encode_json

ORIGIN: Final = "voice-daemon"
MAX_STATE_CHARS: Final = 255
"""A longer state is `unknown` to Home Assistant."""
HEALTH_IS_OLD_S: Final = 180
"""Three reports missed."""
WORDS_EXPIRY_S: Final = 2.0
"""The next words replace them sooner."""
SILENCE_STEP_MS: Final = 50
THRESHOLD_STEP: Final = 0.01

STATE_WORDS: Final = {
    State.STARTING: "Starting",
    State.IDLE: "Ready",
    State.LISTENING: "Ready",
    State.TRANSCRIBING: "Ready",
    State.MUTED: "Muted",
    State.DEGRADED: "Needs attention",
}
"""Words for people. *Listening* says what passes with each command: said twice, it would fill
the logbook."""
NO_COMMAND: Final = {
    EndReason.NO_SPEECH: "Nothing heard",
    EndReason.CANCELLED: "Cancelled",
    EndReason.MUTED: "Muted",
    EndReason.MIC_LOST: "Microphone lost",
    EndReason.OVERLOAD: "Too slow",
    EndReason.SHUTDOWN: "Stopped",
    EndReason.ERROR: "Failed",
}
"""Words for why a session ended without a command."""
NOT_UNDERSTOOD: Final = "Not understood"
"""Word for a session that ended like others, but without a text."""

Component = dict[str, Any]

_AGAIN: Final = (
    "{% set last = this.attributes %}"
    "{% set ahead_s = as_timestamp(last.get('at'), 0) - as_timestamp(value_json.get('at'), 0) %}"
    "{% set again = 0 < ahead_s < 60 or (last.get('seq') is not none"
    " and last.get('session_id') == value_json.get('session_id')"
    " and last.get('seq') == value_json.get('seq')) %}"
)
"""Tells a final that is sent again: the last one, or one said before it."""
ONCE: Final = _AGAIN + "{{ '' if again else value }}"
"""Leaves out a final that is sent again. Home Assistant takes an empty value for no event, and
keeps the last one's attributes over its own restart."""
TEXT_ONCE: Final = f"{_AGAIN}{{{{ this.state if again else value_json.text[:{MAX_STATE_CHARS}] }}}}"
ATTRIBUTES_ONCE: Final = _AGAIN + "{{ (last if again else value_json) | tojson }}"


def spoken_name(name: str) -> str:
    """Write a wake word or a node as people say it: "hey_jarvis" -> "Hey Jarvis"."""
    return name.replace("_", " ").replace("-", " ").strip().title()


def device_name(node: str) -> str:
    """Name a node's device for people."""
    return f"Voice {spoken_name(node)}"


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
    instance: str
    """Identity that stays when the node is renamed: with it area, history and automations stay."""
    microphone: str = ""
    """The input's name; "" before it is known."""
    area: str = ""
    """The room that it stands in; "" for nobody said."""
    speaks: bool = True
    """False without an output."""
    url: str = PROJECT_URL
    """Where the documentation is; "" leaves the link out."""


def config_topic(prefix: str, node: str) -> str:
    """Give the topic of a node's announcement."""
    return f"{prefix}/device/{node}/config"


def announcement(device: Device, *, dropped: Mapping[str, str] | None = None) -> MqttMessage:
    """Give the retained message; `dropped`: platforms of components that are no more."""
    node = device.topics.node
    body = {
        "device": _known(
            identifiers=[f"voice_daemon_{device.instance}"],
            name=device_name(device.topics.node),
            manufacturer="voice-daemon",
            model="Voice commands",
            model_id=device.model,
            sw_version=device.version,
            hw_version=device.microphone,
            configuration_url=device.url,
            suggested_area=device.area,
        ),
        "origin": _known(name=ORIGIN, sw_version=device.version, support_url=device.url),
        "availability_topic": device.topics.path(Leaf.AVAILABILITY),
        "payload_available": "online",
        "payload_not_available": "offline",
        # What goes stands first: a trigger that takes the place of another would be refused.
        "components": {
            **{name: {"platform": platform} for name, platform in (dropped or {}).items()},
            **components(device),
        },
    }
    return MqttMessage(config_topic(device.prefix, node), encode_json(body), retain=True)


def _known(**values: object) -> dict[str, object]:
    """Leave out what nobody knows: Home Assistant refuses an empty address."""
    return {key: value for key, value in values.items() if value}


def components(device: Device) -> dict[str, Component]:
    """Give every component, by the name that it keeps from version to version.

    Home Assistant ties the name of a trigger to the first device that had it, until it restarts:
    another device of the same node would have none.
    """
    entities = {**_texts(device), **_events(device), **_states(device)}
    entities |= {**_controls(device), **_diagnostics(device)}
    return {
        **{name: _identified(name, entity, device) for name, entity in entities.items()},
        f"wake_trigger_{device.instance}": _trigger(
            "Wake word", device.topics.path(Leaf.WAKE), "detected"
        ),
        f"command_trigger_{device.instance}": _trigger(
            "Command", device.topics.path(Leaf.FINAL), "final"
        ),
    }


def words_message(event: Event, topics: Topics) -> MqttMessage | None:
    """Give the words for *Words being spoken*: of a partial, none when its session has ended."""
    if not isinstance(event, TranscriptPartial | SessionEnded):
        return None
    text, draft = "", ""
    if isinstance(event, TranscriptPartial):
        # A recogniser that hears no more yet takes what it has for a whole sentence.
        text, draft = event.text, event.draft.removesuffix(".")
    body = {"schema": SCHEMA, "session_id": event.session_id, "text": text, "draft": draft}
    return MqttMessage(topics.path(Leaf.WORDS), encode_json(body), qos=0, expiry_s=WORDS_EXPIRY_S)


def _identified(name: str, component: Component, device: Device) -> Component:
    """Add what every entity needs: an identity, and the id that automations are written against."""
    entity = f"voice_{device.topics.node.replace('-', '_')}_{name}"
    return {
        **component,
        "unique_id": f"voice_daemon_{device.instance}_{name}",
        "default_entity_id": f"{component['platform']}.{entity}",
        "object_id": entity,
        "qos": 1,
    }


def _texts(device: Device) -> dict[str, Component]:
    final, words = device.topics.path(Leaf.FINAL), device.topics.path(Leaf.WORDS)
    return {
        "last_transcript": {
            "platform": "sensor",
            "name": "Last command",
            "icon": "mdi:message-text",
            "state_topic": final,
            "value_template": TEXT_ONCE,
            "json_attributes_topic": final,
            "json_attributes_template": ATTRIBUTES_ONCE,
        },
        # Off by default: every draft is a row of the logbook.
        "words": {
            "platform": "sensor",
            "name": "Words being spoken",
            "icon": "mdi:text-long",
            "state_topic": words,
            "value_template": "{{ (value_json.text ~ value_json.draft)"
            f"[-{MAX_STATE_CHARS}:] | trim }}}}",
            "json_attributes_topic": words,
            "enabled_by_default": False,
        },
    }


def _events(device: Device) -> dict[str, Component]:
    # The first two are off by default: *Last command*, *Listening* and the device's triggers say
    # the same, and a command is to be three rows of the logbook.
    reasons = {reason.value: words for reason, words in NO_COMMAND.items()}
    return {
        "transcript": {
            "platform": "event",
            "name": "Transcript",
            "icon": "mdi:message-text-outline",
            "event_types": ["final"],
            "state_topic": device.topics.path(Leaf.FINAL),
            "value_template": ONCE,
            "enabled_by_default": False,
        },
        "wake": {
            "platform": "event",
            "name": "Wake word heard",
            "icon": "mdi:ear-hearing",
            "event_types": ["detected"],
            "state_topic": device.topics.path(Leaf.WAKE),
            "enabled_by_default": False,
        },
        "no_command": {
            "platform": "event",
            "name": "No command",
            "icon": "mdi:message-off-outline",
            "event_types": [*NO_COMMAND.values(), NOT_UNDERSTOOD],
            "state_topic": device.topics.path(Leaf.SESSION),
            "value_template": "{% if value_json.event_type == 'ended' and not value_json.finals %}"
            f"{{{{ dict(value_json, event_type={reasons}.get(value_json.reason,"
            f" '{NOT_UNDERSTOOD}')) | tojson }}}}{{% endif %}}",
        },
        "error": {
            "platform": "event",
            "name": "Error",
            "icon": "mdi:alert-circle-outline",
            "entity_category": "diagnostic",
            "event_types": ["Reported"],
            "state_topic": device.topics.path(Leaf.ERROR),
            "value_template": "{{ dict(value_json, event_type='Reported') | tojson }}",
        },
    }


def _trigger(subtype: str, topic: str, event_type: str) -> Component:
    """Home Assistant's editor reads it as "Wake word" heard."""
    return {
        "platform": "device_automation",
        "automation_type": "trigger",
        "type": "heard",
        "subtype": subtype,
        "topic": topic,
        "value_template": "{{ value_json.event_type }}",
        "payload": event_type,
        "qos": 1,
    }


def _chosen(words: Mapping[str, str]) -> str:
    """Write the template that puts one word for another; what it does not know stays."""
    return f"{{{{ {dict(words)}.get(value, value) }}}}"


def _states(device: Device) -> dict[str, Component]:
    state, health = device.topics.path(Leaf.STATE), device.topics.path(Leaf.HEALTH)
    busy = [State.LISTENING.value, State.TRANSCRIBING.value]
    return {
        "state": {
            "platform": "sensor",
            "name": "State",
            "icon": "mdi:state-machine",
            "device_class": "enum",
            "options": list(dict.fromkeys(STATE_WORDS.values())),
            "state_topic": state,
            "value_template": _chosen({s.value: words for s, words in STATE_WORDS.items()}),
            "json_attributes_topic": device.topics.path(Leaf.INFO),
            "json_attributes_template": f"{{{{ dict(value_json, node='{device.topics.node}')"
            " | tojson }}",
        },
        "listening": {
            "platform": "binary_sensor",
            "name": "Listening",
            "icon": "mdi:ear-hearing",
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
            "json_attributes_template": "{{ {'reason': value_json.mic_problem,"
            " 'remedy': value_json.mic_remedy} | tojson }}",
            "expire_after": HEALTH_IS_OLD_S,
        },
    }


def _controls(device: Device) -> dict[str, Component]:
    names = {word: spoken_name(word) for word in device.wake_words}
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
        **({"speak": _speak(device)} if device.speaks else {}),
        "wake_word": {
            "platform": "select",
            "name": "Wake word",
            "icon": "mdi:account-voice",
            "entity_category": "config",
            **_setting(device, "wake_word"),
            "options": list(names.values()),
            "value_template": _chosen(names),
            "command_template": _chosen({spoken: word for word, spoken in names.items()}),
        },
        "wake_threshold": {
            "platform": "number",
            "name": "Wake strictness",
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
            "name": "End after silence",
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


def _speak(device: Device) -> Component:
    return {
        "platform": "notify",
        "name": "Speak",
        "icon": "mdi:bullhorn",
        "command_topic": device.topics.command("speak"),
        "command_template": "{{ {'value': value} | tojson }}",
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
