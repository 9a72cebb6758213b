"""A microphone that is not there, as Home Assistant shows it."""

from __future__ import annotations

import time

from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named
from rigs.virtual_microphone import VirtualMicrophone

NODE = named("deaf")


def test_a_microphone_that_goes_is_a_problem_with_its_remedy_until_it_is_back(
    hub: Hub, start_daemon: StartDaemon, room: VirtualMicrophone
) -> None:
    with start_daemon(NODE, room=room):
        problem = hub.entity(NODE, "binary_sensor", "Microphone problem")
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: (hub.state(problem), hub.state(state)) == ("off", "Ready"), "all is well")
        device = hub.device(NODE)
        assert device is not None
        assert "roommic" in device["hw_version"]
        with hub.watch() as watch:
            room.unplug()
            gone_s = time.monotonic()
            soon(lambda: hub.state(problem) == "on", "the microphone is missed")
            print(f"shown after {time.monotonic() - gone_s:.1f} s")  # noqa: T201 - a figure for a report
            soon(lambda: hub.state(state) == "Needs attention", "the state says so")
            said = hub.attributes(problem)
            assert said["reason"]
            assert said["remedy"]
            time.sleep(3)
            reasons = [s["attributes"]["reason"] for s in watch.states(problem)]
            assert len(set(reasons)) == 1
        room.plug_in()
        soon(lambda: (hub.state(problem), hub.state(state)) == ("off", "Ready"), "it is back")
