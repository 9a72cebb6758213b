"""The Assist satellite: found by itself, in its room, and each command runs once."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import Observer, free_port
from rigs.homeassistant.blueprints import COMMANDS, imported
from rigs.homeassistant.environment import N_TIMES, StartDaemon, print_times
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Light, light_in
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken
from rigs.homeassistant.satellites import found, pipeline, ready
from rigs.virtual_microphone import VirtualMicrophone
from voice_daemon.assets import DEMO_CLIP

NODE = named("satellite")
ROOM = "Kitchen"
RECONNECT_S = 15
"""Home Assistant tries again every ten seconds."""


@pytest.fixture
def start(start_daemon: StartDaemon, room: VirtualMicrophone) -> StartDaemon:
    """Give what runs a daemon that is a satellite in its room."""
    settings = {
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE": "true",
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_PORT": str(free_port()),
        "VOICE_DAEMON_HOMEASSISTANT__AREA": ROOM,
    }
    return partial(start_daemon, NODE, room=room, **settings)


@pytest.mark.parametrize("way", ["blueprint", "satellite"])
def test_times(
    hub: Hub, listener: Observer, start: StartDaemon, room: VirtualMicrophone, way: str
) -> None:
    """Print the times from the end of speech to the light; `VOICE_DAEMON_TIMES` says how many."""
    if not N_TIMES:
        pytest.skip("no times are asked for")
    with (
        light_in(ROOM, hub=hub, listener=listener) as kitchen,
        imported(hub, COMMANDS) as blueprint,
        hub.automated(NODE, {"use_blueprint": {"path": blueprint, "input": {}}}),
        start() as _,
        ExitStack() as stack,
    ):
        if way == "satellite":
            added = stack.enter_context(found(hub, NODE))
            stack.enter_context(pipeline(hub, NODE, added))
            ready(hub, NODE, added)
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
        times_s = [_say_and_time(room, listener, kitchen) for _ in range(N_TIMES + 1)]
    print_times(f"{way}, end of speech to the light", times_s[1:])


def _say_and_time(room: VirtualMicrophone, listener: Observer, light: Light) -> float:
    """Say the bundled command; give the seconds from its end to the light's order."""
    final_topic = f"voice/{NODE}/transcript/final"
    finals, orders = len(listener.on(final_topic)), len(light.orders)
    room.play(DEMO_CLIP)
    soon(lambda: len(listener.on(final_topic)) > finals, "there is a final")
    soon(lambda: len(light.orders) > orders, "the light is switched")
    final = [seen for seen in listener.seen if seen.topic == final_topic][-1]
    order = [seen for seen in listener.seen if seen.topic == light.topic][-1]
    time.sleep(1)
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
        with start(forget=False) as daemon, found(hub, NODE) as added, pipeline(hub, NODE, added):
            entry = hub.ask("config/entity_registry/get", entity_id=added.satellite)
            devices = hub.ask("config/device_registry/list")
            (device,) = [d for d in devices if d["id"] == entry["device_id"]]
            assert device["area_id"] == kitchen.area_id
            ready(hub, NODE, added)
            room.play(lights_on)
            soon(lambda: kitchen.orders, "the kitchen's light is switched")
            daemon.signal(signal.SIGKILL)
            with start(forget=True):
                time.sleep(RECONNECT_S)
                ready(hub, NODE, added)
                room.play(lights_off)
                soon(lambda: len(kitchen.orders) > 1, "it is switched off")
                time.sleep(2)
        assert [final["handled_by"] for final in finals()] == ["satellite", "satellite"]
        assert (kitchen.orders, bedroom.orders) == ([b"ON", b"OFF"], [])
