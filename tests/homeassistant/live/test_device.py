"""The device that appears, and what can be done with it from Home Assistant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import voice_daemon
from rigs.brokers import Observer
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named

NODE = named("den")

SHOWN = {
    ("sensor", "Last command"): None,
    ("sensor", "State"): None,
    ("event", "No command"): None,
    ("event", "Error"): "diagnostic",
    ("sensor", "Names known"): "diagnostic",
    ("binary_sensor", "Listening"): None,
    ("binary_sensor", "Microphone problem"): "diagnostic",
    ("switch", "Mute"): "config",
    ("button", "Listen now"): None,
    ("button", "Cancel"): None,
    ("notify", "Speak"): None,
    ("select", "Wake word"): "config",
    ("number", "Wake strictness"): "config",
    ("number", "End after silence"): "config",
}
"""By domain and name: the category."""

HIDDEN = {
    ("event", "Transcript"): None,
    ("event", "Wake word heard"): None,
    ("sensor", "Words being spoken"): None,
    ("sensor", "Real-time factor"): "diagnostic",
    ("sensor", "Uptime"): "diagnostic",
    ("sensor", "Broker reconnects"): "diagnostic",
}


@pytest.fixture(scope="module", autouse=True)
def daemon(hub: Hub, start_module_daemon: StartDaemon) -> Iterator[None]:
    """Run a daemon in a quiet room, until Home Assistant has all of it."""
    with start_module_daemon(NODE, VOICE_DAEMON_AUDIO__OUTPUT="default"):
        soon(lambda: len(hub.entities(NODE)) >= len(SHOWN), "the device is there")
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.state(state) == "Ready", "the daemon is idle")
        yield


def responses(listener: Observer, verb: str) -> list[Any]:
    return [json.loads(payload) for payload in listener.on(f"voice/{NODE}/response/{verb}")]


def test_every_entity_is_there_in_its_category(hub: Hub) -> None:
    entities = hub.entities(NODE)
    assert {(e.domain, e.name): e.category for e in entities if e.is_enabled} == SHOWN
    assert {(e.domain, e.name): e.category for e in entities if not e.is_enabled} == HIDDEN


def test_entity_ids_name_the_device_and_what_it_is(hub: Hub) -> None:
    ids = {entity.entity_id for entity in hub.entities(NODE)}
    name = NODE.replace("-", "_")
    assert {
        f"event.voice_{name}_transcript",
        f"event.voice_{name}_wake",
        f"sensor.voice_{name}_state",
        f"sensor.voice_{name}_words",
        f"switch.voice_{name}_mute",
        f"button.voice_{name}_listen",
        f"number.voice_{name}_wake_threshold",
    } <= ids


def test_the_device_says_what_it_is(hub: Hub) -> None:
    device = hub.device(NODE)
    assert device is not None
    assert device["manufacturer"] == "voice-daemon"
    assert device["sw_version"] == voice_daemon.__version__
    assert device["hw_version"] is None, "a file is no microphone"
    assert device["configuration_url"] == voice_daemon.PROJECT_URL


def test_the_wake_word_can_start_an_automation(hub: Hub) -> None:
    assert {(t["type"], t["subtype"]) for t in hub.triggers(NODE)} == {
        *(("heard", "Wake word"), ("heard", "Command")),
    }


def test_the_wake_words_are_those_that_people_call(hub: Hub) -> None:
    options = hub.attributes(hub.entity(NODE, "select", "Wake word"))["options"]
    assert options == ["Hey Jarvis", "Alexa", "Hey Mycroft", "Hey Rhasspy"]


def test_the_device_stands_in_the_room_that_it_says(hub: Hub, start_daemon: StartDaemon) -> None:
    node = named("roomy")
    with start_daemon(node, VOICE_DAEMON_HOMEASSISTANT__AREA="Livetest Parlour"):
        device = soon(lambda: hub.device(node), "the device is there")
        (room,) = [
            a for a in hub.ask("config/area_registry/list") if a["area_id"] == device["area_id"]
        ]
        assert room["name"] == "Livetest Parlour"
    hub.ask("config/area_registry/delete", area_id=room["area_id"])


@pytest.mark.parametrize(
    ("domain", "name", "value"),
    [
        ("sensor", "State", "Ready"),
        ("binary_sensor", "Listening", "off"),
        ("binary_sensor", "Microphone problem", "off"),
        ("switch", "Mute", "off"),
        ("select", "Wake word", "Hey Jarvis"),
        ("number", "Wake strictness", "0.5"),
        ("number", "End after silence", "700"),
        ("sensor", "Last command", "unknown"),
        ("event", "No command", "unknown"),
    ],
)
def test_an_entity_shows_what_is_in_force(hub: Hub, domain: str, name: str, value: str) -> None:
    entity = hub.entity(NODE, domain, name)
    soon(lambda: hub.state(entity) == value, f"{entity} is {value}: {hub.state(entity)}")


def test_mute_silences_the_device_and_is_reported(hub: Hub) -> None:
    mute, state = hub.entity(NODE, "switch", "Mute"), hub.entity(NODE, "sensor", "State")
    hub.act("switch.turn_on", mute)
    soon(lambda: (hub.state(mute), hub.state(state)) == ("on", "Muted"), "it is muted")
    hub.act("switch.turn_off", mute)
    soon(lambda: (hub.state(mute), hub.state(state)) == ("off", "Ready"), "it listens again")


def test_listen_opens_a_session_and_cancel_ends_it(hub: Hub, listener: Observer) -> None:
    listening = hub.entity(NODE, "binary_sensor", "Listening")
    without = hub.entity(NODE, "event", "No command")
    with hub.watch() as watch:
        hub.act("button.press", hub.entity(NODE, "button", "Listen now"))
        soon(lambda: hub.state(listening) == "on", "a session is open")
        hub.act("button.press", hub.entity(NODE, "button", "Cancel"))
        soon(lambda: hub.state(listening) == "off", "it is over")
        assert [s["state"] for s in watch.states(listening)] == ["on", "off"]
        soon(lambda: watch.states(without), "it is said that nothing came of it")
        assert [s["attributes"]["event_type"] for s in watch.states(without)] == ["Cancelled"]

    def answered() -> list[str]:
        verbs = ("listen", "cancel")
        return [answer["status"] for verb in verbs for answer in responses(listener, verb)]

    soon(lambda: answered() == ["ok", "ok"], "both are answered")
    sessions = [json.loads(m) for m in listener.on(f"voice/{NODE}/session")]
    assert [session.get("reason") for session in sessions] == [None, "cancelled"]


def test_numbers_and_the_wake_word_can_be_set(hub: Hub) -> None:
    for domain, name, action, key, value, before in (
        ("number", "Wake strictness", "number.set_value", "value", "0.73", "0.5"),
        ("number", "End after silence", "number.set_value", "value", "950", "700"),
        ("select", "Wake word", "select.select_option", "option", "Alexa", "Hey Jarvis"),
    ):
        entity = hub.entity(NODE, domain, name)
        for wanted in (value, before):
            hub.act(action, entity, **{key: wanted})
            soon(lambda: hub.state(entity) == wanted, f"{entity} reports {wanted}")  # noqa: B023 - within the turn


def test_a_value_out_of_range_changes_nothing_and_is_refused(hub: Hub, listener: Observer) -> None:
    threshold = hub.entity(NODE, "number", "Wake strictness")
    listener.publish(f"voice/{NODE}/wake_threshold/set", "7")
    listener.wait(f"voice/{NODE}/error")
    assert hub.state(threshold) == "0.5"


def test_settings_survive_a_restart_of_the_daemon(hub: Hub, start_daemon: StartDaemon) -> None:
    node = named("keeper")
    with start_daemon(node, forget=False):
        silence = hub.entity(node, "number", "End after silence")
        soon(lambda: hub.state(silence) == "700", "it is there")
        hub.act("number.set_value", silence, value=1200)
        soon(lambda: hub.state(silence) == "1200", "it is set")
    soon(lambda: hub.state(silence) == "unavailable", "the daemon is gone")
    with start_daemon(node):
        soon(lambda: hub.state(silence) == "1200", "it is as it was set")


def test_what_is_hidden_works_once_it_is_enabled(hub: Hub) -> None:
    enabled = hub.enable(NODE, ("sensor", "Uptime"), ("sensor", "Broker reconnects"))
    uptime, reconnects = enabled.values()
    soon(lambda: hub.state(uptime) not in ("unavailable", "unknown"), "there is an uptime")
    assert float(hub.state(uptime) or 0) > 0
    assert hub.state(reconnects) == "0"


def test_a_long_command_is_cut_and_kept_whole(hub: Hub, listener: Observer) -> None:
    last = hub.entity(NODE, "sensor", "Last command")
    text = "x" * 2000
    at = "2026-01-02T03:04:05.678Z"
    message = {"event_type": "final", "session_id": "a", "seq": 1, "text": text, "at": at}
    listener.publish(f"voice/{NODE}/transcript/final", json.dumps(message))
    soon(lambda: hub.state(last) == "x" * 255, "a long transcript is cut")
    assert hub.attributes(last)["text"] == text
