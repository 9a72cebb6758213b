"""The MQTT client as others see it: connected or not and why, and what became of messages.

Knows nothing of connections, or of where it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voice_daemon.errors import BrokerError


@dataclass(frozen=True, slots=True)
class MqttStatus:
    """The client right now, and its counters since the start."""

    url: str
    client_id: str
    connected: bool
    protocol: str
    """`5` or `3.1.1`; empty before the first connection."""
    queued: int
    """Waiting or unacknowledged."""
    dropped: int
    """Lost for another reason than age."""
    expired: int
    """Lost by age."""
    finals_lost: int
    partials_skipped: int
    """Partials while not connected: forgotten, which is no fault."""
    reconnects: int
    commands_ignored: int
    """Retained messages on command topics."""
    commands_refused: int
    last_error: BrokerError | None
    """Why it is not connected, or what the broker's access rules forbid; None when well."""
