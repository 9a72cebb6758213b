"""Pictures of what a user of Home Assistant sees, for the documentation and to be looked at.

`scripts/make-home-assistant-pictures` makes them; they are no part of a run of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.browser import Browser, browser
from rigs.homeassistant.blueprints import COMMANDS, imported
from rigs.homeassistant.cards import dashboard, documented_card
from rigs.homeassistant.environment import PICTURES, StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.virtual_microphone import VirtualMicrophone
from voice_daemon.assets import DEMO_CLIP

NODE = "livetest-kitchen"
AREA = "Livetest Kitchen"
COMMAND = "Turn on the kitchen lights."

pytestmark = pytest.mark.skipif(PICTURES is None, reason="no pictures are asked for")


@pytest.fixture
def page(hub: Hub) -> Iterator[Browser]:
    with browser(width=1600, height=1500) as page:
        page.open(f"{hub.url}/manifest.json", until="{")
        page.run(f"localStorage.setItem('hassTokens', {json.dumps(hub.browser_login())})")
        yield page


def test_pictures(
    hub: Hub, start_daemon: StartDaemon, room: VirtualMicrophone, page: Browser
) -> None:
    folder = Path(PICTURES or "")
    with (
        imported(hub, COMMANDS) as blueprint,
        start_daemon(NODE, room=room, VOICE_DAEMON_HOMEASSISTANT__AREA=AREA),
    ):
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
        device = hub.device(NODE)
        assert device is not None
        room.play(DEMO_CLIP)
        last = hub.entity(NODE, "sensor", "Last command")
        soon(lambda: hub.state(last) == COMMAND, "the command is shown")
        page.open(f"{hub.url}/config/devices/device/{device['id']}", until="End after silence")
        page.picture(folder / "homeassistant-device.png")
        page.open(f"{hub.url}/logbook?device_id={device['id']}", until=COMMAND)
        page.picture(folder / "homeassistant-logbook.png", height=480)
        known = soon(lambda: hub.triggers(NODE), "the device has triggers")
        triggers = [{k: v for k, v in one.items() if k != "metadata"} for one in known]
        editor = f"{hub.url}/config/automation/edit/{NODE}"
        with hub.automated(NODE, {"use_blueprint": {"path": blueprint, "input": {}}}):
            page.open(editor, until="None chosen means every voice-daemon")
            page.picture(folder / "homeassistant-blueprint.png", height=640)
        with hub.automated(NODE, {"triggers": triggers, "actions": []}):
            page.open(f"{editor}?", until="heard")
            page.picture(folder / "homeassistant-automation.png", height=640)
        words = hub.enable(NODE, ("sensor", "Words being spoken")).popitem()[1]
        soon(lambda: hub.state(words) not in (None, "unavailable"), "they are loaded")
        with dashboard(hub, NODE, documented_card(NODE)) as address:
            page.open(address, until="Nothing said yet.")
            speaking = room.begin(DEMO_CLIP)
            soon(lambda: "kitchen" in (hub.state(words) or "").split(), "words are shown")
            page.picture(folder / "homeassistant-card.png", height=200, left=256)
            speaking.wait()
        hub.mark_log()
