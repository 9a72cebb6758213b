"""A command without a room is carried out where the microphone stands."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator

import pytest

from rigs.brokers import Mosquitto, Observer
from rigs.homeassistant.consumers import example_script
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Light, light_in
from rigs.homeassistant.names import named

NODE = named("kitchen-shelf")
LIGHTS_ON = "Turn on the lights."


@pytest.fixture
def rooms(
    hub: Hub, listener: Observer, start_daemon: StartDaemon
) -> Iterator[tuple[Light, Light, str]]:
    """Give a light in each of two rooms, and the device that stands in the first."""
    with (
        light_in("Kitchen", hub=hub, listener=listener) as kitchen,
        light_in("Bedroom", hub=hub, listener=listener) as bedroom,
        start_daemon(NODE),
    ):
        device = soon(lambda: hub.device(NODE), "the device is there")
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.attributes(state).get("node") == NODE, "it says which node it is")
        hub.ask("config/device_registry/update", device_id=device["id"], area_id=kitchen.area_id)
        yield kitchen, bedroom, device["id"]


def test_the_example_switches_the_light_of_the_room(
    hub: Hub, broker: Mosquitto, listener: Observer, rooms: tuple[Light, Light, str]
) -> None:
    if not hub.has("assist_pipeline"):
        pytest.skip("this Home Assistant has no `assist_pipeline:`")
    kitchen, bedroom, _ = rooms
    final = (
        f'{{"session_id":"s","seq":3,"text":"{LIGHTS_ON}","confidence":0.9,"event_type":"final"}}'
    )
    with example_script(broker, base="voice"):
        listener.publish(f"voice/{NODE}/transcript/final", final)
        listener.publish(f"voice/{NODE}/transcript/final", final)  # twice, as a broker may
        soon(lambda: kitchen.orders, "the kitchen's light is switched")
        other = final.replace('"s"', '"t"').replace("on the", "off the")
        listener.publish(f"voice/{NODE}/transcript/final", other)
        soon(lambda: len(kitchen.orders) > 1, "and switched off")
    assert (kitchen.orders, bedroom.orders) == ([b"ON", b"OFF"], [])


def test_newer_versions_take_the_device_from_a_rest_command_too(
    hub: Hub, rooms: tuple[Light, Light, str]
) -> None:
    kitchen, bedroom, device_id = rooms
    request = {"text": LIGHTS_ON, "language": "en", "device_id": device_id}
    try:
        hub.request("POST", "/api/conversation/process", request)
    except urllib.error.HTTPError as error:
        if "device_id" in str(error.__notes__):
            pytest.skip(f"Home Assistant {hub.version()} does not take a device there")
        raise
    soon(lambda: kitchen.orders, "the kitchen's light is switched")
    assert (kitchen.orders, bedroom.orders) == ([b"ON"], [])
