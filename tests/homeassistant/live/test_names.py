"""The vocabulary blueprint: what is called something else now is understood by its new name."""

from __future__ import annotations

import json
import time

from rigs.brokers import Observer
from rigs.homeassistant.blueprints import COMMANDS, VOCABULARY, imported
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.lights import Light, light_in
from rigs.homeassistant.names import named
from rigs.virtual_microphone import VirtualMicrophone
from voice_daemon.assets import HOME_CLIP

NODE = named("names")
NEW_NAME = "Plantuary"
"""A name that no model knows; `HOME_CLIP` says it."""
PUBLISHED_S = 6.0
PAUSE_MS = "2000"
"""The audio is searched for names in the pause alone, and this machine does other things too."""


def rename(hub: Hub, light: Light, name: str | None) -> None:
    """Give a light another name, as its user does."""
    device_id = hub.ask("config/entity_registry/get", entity_id=light.entity_id)["device_id"]
    hub.ask("config/device_registry/update", device_id=device_id, name_by_user=name)
    hub.ask("config/entity_registry/update", entity_id=light.entity_id, name=None)


def test_a_light_is_understood_by_its_new_name_six_seconds_after_it_got_it(
    hub: Hub, start_daemon: StartDaemon, listener: Observer, room: VirtualMicrophone
) -> None:
    final = f"voice/{NODE}/transcript/final"
    with (
        imported(hub, VOCABULARY) as vocabulary,
        imported(hub, COMMANDS) as commands,
        light_in("Kitchen", hub=hub, listener=listener) as kitchen,
        start_daemon(NODE, room=room, VOICE_DAEMON_SESSION__SILENCE_MS=PAUSE_MS),
        hub.automated(f"{NODE}-names", {"use_blueprint": {"path": vocabulary, "input": {}}}),
        hub.automated(f"{NODE}-commands", {"use_blueprint": {"path": commands, "input": {}}}),
    ):
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.state(state) == "Ready", "the daemon is ready")

        def say() -> str:
            before = len(listener.on(final))
            hub.act("button.press", hub.entity(NODE, "button", "Listen now"))
            listening = hub.entity(NODE, "binary_sensor", "Listening")
            soon(lambda: hub.state(listening) == "on", "it listens")
            room.play(HOME_CLIP)
            soon(lambda: len(listener.on(final)) > before, "there is a final")
            return str(json.loads(listener.on(final)[-1])["text"])

        rename(hub, kitchen, None)
        assert NEW_NAME.lower() not in say().lower()
        rename(hub, kitchen, NEW_NAME)
        time.sleep(PUBLISHED_S)
        assert NEW_NAME in listener.on("voice/vocabulary")[-1].decode()
        assert NEW_NAME in say()
        if hub.is_since(2026, 11):  # 2026.2 knows no device of the new name yet
            soon(lambda: kitchen.orders == [b"OFF"], "the light is switched")
        rename(hub, kitchen, None)  # Home Assistant remembers it for the next run
        listener.publish("voice/vocabulary", b"", retain=True)
