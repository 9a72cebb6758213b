"""What a satellite plays: announcements, an answer that asks, and a timer."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigs.brokers import Observer, free_port
from rigs.homeassistant.environment import StartDaemon
from rigs.homeassistant.hub import Hub, soon
from rigs.homeassistant.names import named
from rigs.homeassistant.rooms import spoken
from rigs.homeassistant.satellites import found, pipeline, ready
from rigs.virtual_microphone import OUTPUT, VirtualMicrophone
from support.daemon_process import DaemonProcess
from voice_daemon.control.client import ControlClient
from voice_daemon.sound.sounds import voice_program

pytestmark = pytest.mark.skipif(voice_program() is None, reason="the system has no voice")

NODE = named("answers")
LOUD_DBFS = -50


@contextmanager
def satellite(
    hub: Hub, start_daemon: StartDaemon, room: VirtualMicrophone
) -> Iterator[tuple[str, DaemonProcess]]:
    """Run a satellite with a speaker in its room, and its own voice in the pipeline."""
    settings = {
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE": "true",
        "VOICE_DAEMON_HOMEASSISTANT__SATELLITE_PORT": str(free_port()),
        "VOICE_DAEMON_AUDIO__OUTPUT": OUTPUT,
    }
    with (
        start_daemon(NODE, room=room, **settings) as daemon,
        found(hub, NODE) as added,
        pipeline(hub, NODE, added, speaks=True),
    ):
        ready(hub, NODE, added)
        yield added.satellite, daemon


def sessions(listener: Observer) -> list[dict[str, object]]:
    return [json.loads(payload) for payload in listener.on(f"voice/{NODE}/session")]


def is_loud(daemon: DaemonProcess) -> bool:
    level = ControlClient(daemon.home / "voice-daemon.sock").request("status")["mic"]["level_dbfs"]
    return level is not None and level > LOUD_DBFS


def test_announcements_questions_and_timers(
    hub: Hub,
    listener: Observer,
    start_daemon: StartDaemon,
    room: VirtualMicrophone,
    tmp_path: Path,
) -> None:
    ask = spoken(tmp_path / "ask.wav", "Hey Jarvis. Tell me the secret question.")
    timer = spoken(tmp_path / "timer.wav", "Hey Jarvis. Set a timer for five seconds.")
    wake = spoken(tmp_path / "wake.wav", "Hey Jarvis.")
    question = {
        "trigger": "conversation",
        "command": ["tell me the secret question"],
    }
    hub.automate(
        NODE,
        {
            "triggers": [question],
            "actions": [{"set_conversation_response": "Which colour do you like best?"}],
        },
    )
    with satellite(hub, start_daemon, room) as (entity, daemon):
        began_s = time.monotonic()
        hub.act("assist_satellite.announce", entity, message="Dinner is ready in the kitchen.")
        assert time.monotonic() - began_s > 1.5
        assert sessions(listener) == []

        room.play(ask)
        soon(lambda: len(sessions(listener)) == 3, "it asks, and a session opens by itself")
        assert [s.get("wake_word") for s in sessions(listener)[::2]] == ["hey_jarvis", None]
        soon(lambda: len(sessions(listener)) == 4, "nobody answers")

        room.play(timer)
        soon(lambda: len(sessions(listener)) == 6, "the timer is set")
        time.sleep(8)  # its answer is over, too
        soon(lambda: is_loud(daemon), "it rings")
        room.play(wake)
        soon(lambda: len(sessions(listener)) == 8, "the wake word stops it")
        assert sessions(listener)[-1]["reason"] == "cancelled"
        time.sleep(2)
        for _ in range(20):
            assert not is_loud(daemon)
            time.sleep(0.1)
    hub.forget_automation(NODE)
