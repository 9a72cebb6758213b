"""The logbook of the device as it is out of the box."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken_commands

NODE = named("quiet-pages")
MOST_ROWS = 3
RECORDED_S = 6
"""Home Assistant's recorder writes every 5 s; the logbook knows nothing before."""
COMMAND = "Turn on the kitchen lights."


def test_a_command_is_three_rows(hub: Hub, start_daemon: StartDaemon, tmp_path: Path) -> None:
    if not hub.has("logbook"):
        pytest.skip("this Home Assistant has no `logbook:`")
    recording = spoken_commands(tmp_path / "one.wav", pauses_s=(25,))
    with start_daemon(NODE, recording=recording):
        state = hub.entity(NODE, "sensor", "State")
        last = hub.entity(NODE, "sensor", "Last command")
        problem = hub.entity(NODE, "binary_sensor", "Microphone problem")
        ready = ("Ready", "off")
        soon(lambda: (hub.state(state), hub.state(problem)) == ready, "the daemon is ready")
        time.sleep(1)
        since = datetime.now(UTC).isoformat()
        soon(lambda: hub.state(last) == COMMAND, "the command is shown")
        listening = hub.entity(NODE, "binary_sensor", "Listening")
        soon(lambda: hub.state(listening) == "off", "it listens no more")
        soon(
            lambda: COMMAND in [row.get("state") for row in hub.rows(NODE, since)],
            "the logbook has the command",
        )
        time.sleep(RECORDED_S)
        rows = hub.rows(NODE, since)
    print(*rows, sep="\n")  # noqa: T201 - pytest shows it of a failed test
    assert len(rows) <= MOST_ROWS
