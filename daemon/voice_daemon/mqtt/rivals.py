"""The other devices on the broker, as the arbitration sees them.

Holds what they said until the worker takes it, and judges what say this device has. Knows
nothing of who wins.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from voice_daemon.mqtt.arbitration import parse_claim
from voice_daemon.mqtt.messages import for_event
from voice_daemon.wake.arbitration import MAX_HEARD, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.events import Claim
    from voice_daemon.mqtt.topics import MqttMessage, Topics

MAX_WAITING: Final = MAX_HEARD
"""More than this between two blocks is no house but a fault; the oldest go."""


class BrokerRivals:
    """Devices that speak over MQTT. One thread may call `on_message`, another the rest."""

    def __init__(
        self,
        *,
        topics: Topics,
        publish: Callable[[MqttMessage], None],
        is_connected: Callable[[], bool],
        has_problem: Callable[[], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._publish = publish
        self._is_connected = is_connected
        self._has_problem = has_problem
        self._clock_s = clock_s
        self._waiting: deque[tuple[Claim, float]] = deque(maxlen=MAX_WAITING)

    def on_message(self, _topic: str, payload: bytes) -> None:
        """Take what arrived; what is no claim is passed over."""
        claim = parse_claim(payload)
        if claim is not None:
            self._waiting.append((claim, self._clock_s()))

    def standing(self) -> Standing:
        """Return the say of this device: none without the others, little while it has a problem."""
        if not self._is_connected():
            return Standing.ALONE
        return Standing.SILENT if self._has_problem() else Standing.FULL

    def tell(self, claim: Claim) -> None:
        """Publish a claim."""
        for message in for_event(claim, topics=self._topics, at=datetime.now(UTC)):
            self._publish(message)

    def take(self) -> list[tuple[Claim, float]]:
        """Return what devices said since the last call, oldest first, and how many seconds ago."""
        taken = []
        while self._waiting:
            claim, arrived_s = self._waiting.popleft()
            taken.append((claim, self._clock_s() - arrived_s))
        return taken
