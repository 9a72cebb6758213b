"""The MQTT client under test, with what it was told and what it lost, and finals for it to send."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rigs.brokers import HOST, Mosquitto
from support.transcripts import final_of
from voice_daemon.config import MqttSettings
from voice_daemon.errors import Problem
from voice_daemon.mqtt.client import MqttClient
from voice_daemon.mqtt.commands import Command
from voice_daemon.mqtt.connect import Timeouts
from voice_daemon.mqtt.losses import Loss
from voice_daemon.mqtt.messages import for_event
from voice_daemon.mqtt.topics import MqttMessage, Topics

MakeBroker = Callable[..., Mosquitto]
StartDaemon = Callable[..., "Daemon"]

TOPICS = Topics("voice", "den")
ROOT = "voice/den"
FINAL = f"{ROOT}/transcript/final"
AVAILABILITY = f"{ROOT}/availability"


class Daemon:
    """An `MqttClient` with what it was told and what it lost."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        announcements: tuple[MqttMessage, ...] = (),
        on_command: Callable[[Command], None] | None = None,
        timeouts: Timeouts | None = None,
        client_id: str = "voice-daemon-den",
    ) -> None:
        self.commands: list[Command] = []
        self.losses: list[Loss] = []
        self.problems: dict[str, Problem | None] = {}
        self.announcements = announcements
        self.client = MqttClient(
            settings,
            client_id=client_id,
            topics=TOPICS,
            on_command=on_command or self.commands.append,
            announce=lambda: self.announcements,
            on_lost=self.losses.append,
            on_problem=self.problems.__setitem__,
            timeouts=timeouts,
        )
        self.client.start()

    @property
    def is_connected(self) -> bool:
        return self.client.status().connected

    @property
    def error_code(self) -> str:
        error = self.client.status().last_error
        return error.code if error else ""


def settings_for(port: int, **changes: Any) -> MqttSettings:
    values = {"reconnect_min_s": 0.1, "reconnect_max_s": 1, **changes}
    return MqttSettings(host=values.pop("host", HOST), port=port, **values)


def final(
    topics: Topics, session_id: str, *, text: str = "Turn on.", ttl_s: float = 30
) -> MqttMessage:
    (message,) = for_event(
        final_of(session_id, text), topics=topics, at=datetime.now(UTC), final_ttl_s=ttl_s
    )
    return message


def sessions(payloads: list[bytes]) -> list[str]:
    """The sessions of finals, in the order in which they arrived."""
    return [json.loads(payload)["session_id"] for payload in payloads]
