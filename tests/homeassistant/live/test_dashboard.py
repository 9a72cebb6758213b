"""The card of the documentation, rendered by Home Assistant while somebody speaks."""

from __future__ import annotations

import re
from pathlib import Path

from rigs.homeassistant.cards import documented_card
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken_commands

NODE = named("screen")
COMMAND = "Turn on the kitchen lights."


def test_the_card_shows_the_words_while_they_are_spoken_and_then_the_command(
    hub: Hub, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    with start_daemon(NODE, forget=False):  # so that Home Assistant hears it from the start
        state = hub.entity(NODE, "sensor", "State")
        soon(lambda: hub.state(state) == "Ready", "the daemon is ready")
        hub.enable(NODE, ("sensor", "Words being spoken"))
        template = documented_card(NODE)["content"]
        soon(lambda: hub.render(template).strip() == "Nothing said yet.", "it says so")
    spoken = spoken_commands(tmp_path / "one.wav", pauses_s=(3,))
    shown: list[str] = []

    def says_the_command() -> bool:
        shown.append(hub.render(template).strip())
        return shown[-1] == COMMAND

    with start_daemon(NODE, recording=spoken):
        soon(says_the_command, "the card shows the command")
    assert "## …" in shown
    speaking = [text for text in shown if text.startswith("## ") and "<font" in text]
    said = [re.sub("<[^>]*>", "", text) for text in speaking]
    assert any("turn on" in text.lower() for text in said), list(dict.fromkeys(shown))
    assert not any("None" in text for text in shown)
