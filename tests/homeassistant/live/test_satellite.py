"""The Assist satellite: found by itself, in its room, and each command runs once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Observer, free_port
from rigs.homeassistant.blueprints import COMMANDS, imported
from rigs.homeassistant.environment import TIMES, StartDaemon, print_times
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Light, light_in
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken
from rigs.virtual_microphone import VirtualMicrophone
from voice_daemon.assets import DEMO_CLIP

NODE = named("satellite")
NAME = f"Voice {NODE.replace('-', ' ').title()}"
ROOM = "Kitchen"
RECONNECT_S = 15
"""Home Assistant tries again every ten seconds."""
FLOWS = "/api/config/config_entries/flow"
ENTRIES = "/api/config/config_entries/entry"


@dataclass(frozen=True, slots=True)
class Added:
    """Both services in Home Assistant, as its user has added them."""

    satellite: str
    """The entity."""
    recogniser: str
    entries: tuple[str, ...]


@pytest.fixture
def start(start_daemon: StartDaemon, room: VirtualMicrophone) -> StartDaemon:
    """Give what runs a daemon that is a satellite in its room."""
    settings = {
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE": "true",
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_PORT": str(free_port()),
        "VOICE_DAEMON_HOMEASSISTANT__AREA": ROOM,
    }
    return partial(start_daemon, NODE, room=room, **settings)


@contextmanager
def found(hub: Hub) -> Iterator[Added]:
    """Add what Home Assistant has found, by its dialogues alone."""

    def flows() -> list[dict[str, Any]]:
        known = hub.ask("config_entries/flow/progress")
        return [
            flow
            for flow in known
            if flow["handler"] == "wyoming"
            and flow["context"].get("title_placeholders", {}).get("name", "").startswith(NAME)
        ]

    waiting = soon(lambda: len(flows()) == 2 and flows(), "zeroconf finds both services")
    assert isinstance(waiting, list)
    entries = []
    for flow in waiting:
        done = hub.request("POST", f"{FLOWS}/{flow['flow_id']}", {})
        assert done["type"] == "create_entry", done
        entries.append(done["result"]["entry_id"])

    def entity(domain: str) -> str:
        known = hub.ask("config/entity_registry/list")
        ours = [e["entity_id"] for e in known if e["config_entry_id"] in entries]
        return next((name for name in ours if name.startswith(f"{domain}.")), "")

    yield Added(
        soon(lambda: entity("assist_satellite"), "there is a satellite"),
        soon(lambda: entity("stt"), "there is its recogniser"),
        tuple(entries),
    )
    for entry in entries:
        hub.request("DELETE", f"{ENTRIES}/{entry}")


@contextmanager
def pipeline(hub: Hub, recogniser: str) -> Iterator[None]:
    """Have Home Assistant prefer an assistant that hears with a recogniser."""
    before = hub.ask("assist_pipeline/pipeline/list")["preferred_pipeline"]
    made = hub.ask(
        "assist_pipeline/pipeline/create",
        name=NODE,
        language="en",
        conversation_engine="conversation.home_assistant",
        conversation_language="en",
        stt_engine=recogniser,
        stt_language="en",
        **dict.fromkeys(("tts_engine", "tts_language", "tts_voice")),
        **dict.fromkeys(("wake_word_entity", "wake_word_id")),
    )
    hub.ask("assist_pipeline/pipeline/set_preferred", pipeline_id=made["id"])
    yield
    hub.ask("assist_pipeline/pipeline/set_preferred", pipeline_id=before)
    hub.ask("assist_pipeline/pipeline/delete", pipeline_id=made["id"])


def ready(hub: Hub, added: Added) -> None:
    soon(lambda: hub.state(added.satellite) == "idle", "the satellite is connected")
    state = hub.entity(NODE, "sensor", "State")
    soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
    time.sleep(1)


def test_times(
    hub: Hub,
    listener: Observer,
    start: StartDaemon,
    room: VirtualMicrophone,
) -> None:
    """Print the times from the end of speech to the light, by satellite and by blueprint."""
    n = int(os.environ.get(TIMES, "0"))
    if not n:
        pytest.skip("no times are asked for")
    with light_in(ROOM, hub=hub, listener=listener) as kitchen, start() as _:

        def times() -> list[float]:
            return [_say_and_time(room, listener, kitchen) for _ in range(n + 1)][1:]

        with (
            imported(hub, COMMANDS) as blueprint,
            hub.automated(NODE, {"use_blueprint": {"path": blueprint, "input": {}}}),
        ):
            state = hub.entity(NODE, "sensor", "State")
            soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
            print_times("MQTT blueprint, end of speech to the light", times())
        with found(hub) as added, pipeline(hub, added.recogniser):
            ready(hub, added)
            print_times("satellite, end of speech to the light", times())


def _say_and_time(room: VirtualMicrophone, listener: Observer, light: Light) -> float:
    """Say the bundled command; give the seconds from its end to the light's order."""
    final_topic = f"voice/{NODE}/transcript/final"
    finals, orders = len(listener.on(final_topic)), len(light.orders)
    room.play(DEMO_CLIP)
    soon(lambda: len(listener.on(final_topic)) > finals, "there is a final")
    soon(lambda: len(light.orders) > orders, "the light is switched")
    final = [seen for seen in listener.seen if seen.topic == final_topic][-1]
    order = [seen for seen in listener.seen if seen.topic == light.topic][-1]
    time.sleep(2.5)
    finalize_ms: float = json.loads(final.payload)["timing"]["finalize_ms"]
    return finalize_ms / 1000 + order.at_s - final.at_s


def test_a_command_runs_once_in_the_room_of_the_satellite(
    hub: Hub,
    listener: Observer,
    start: StartDaemon,
    room: VirtualMicrophone,
    tmp_path: Path,
) -> None:
    lights_on = spoken(tmp_path / "on.wav", "Hey Jarvis. Turn on the lights.")
    lights_off = spoken(tmp_path / "off.wav", "Hey Jarvis. Turn off the lights.")

    def finals() -> list[dict[str, Any]]:
        return [json.loads(final) for final in listener.on(f"voice/{NODE}/transcript/final")]

    with (
        light_in(ROOM, hub=hub, listener=listener) as kitchen,
        light_in("Bedroom", hub=hub, listener=listener) as bedroom,
        imported(hub, COMMANDS) as blueprint,
        hub.automated(NODE, {"use_blueprint": {"path": blueprint, "input": {}}}),
    ):
        with start(forget=False) as daemon, found(hub) as added, pipeline(hub, added.recogniser):
            entry = hub.ask("config/entity_registry/get", entity_id=added.satellite)
            devices = hub.ask("config/device_registry/list")
            (device,) = [d for d in devices if d["id"] == entry["device_id"]]
            assert device["area_id"] == kitchen.area_id
            ready(hub, added)
            room.play(lights_on)
            soon(lambda: kitchen.orders, "the kitchen's light is switched")
            daemon.signal(signal.SIGKILL)
            with start(forget=True):
                time.sleep(RECONNECT_S)
                ready(hub, added)
                room.play(lights_off)
                soon(lambda: len(kitchen.orders) > 1, "it is switched off")
                time.sleep(2)
        assert [final["handled_by"] for final in finals()] == ["satellite", "satellite"]
        assert (kitchen.orders, bedroom.orders) == ([b"ON", b"OFF"], [])
