"""Announces the device to Home Assistant and takes back what is no more; notices when it is away.

Announced after each connect, and again a moment after Home Assistant says that it has started.
What was announced before under another name, or with components that are no more, is taken back;
it is remembered until the broker has confirmed that. Knows nothing of connections, of files or of
what an announcement says. Callable from any thread.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from voice_daemon.config.persisted import Announcement, SettingsStore
from voice_daemon.events import ErrorRaised
from voice_daemon.homeassistant.discovery import Device, announcement, components
from voice_daemon.mqtt.topics import Leaf, MqttMessage, Topics

log = structlog.get_logger()

BIRTH: Final = b"online"
"""Home Assistant's word on its status topic when it has started."""
WILL: Final = b"offline"
"""Home Assistant's word on its status topic when it goes, or its broker's when it is missed."""
ENDING_S: Final = 5.0
"""Home Assistant still takes messages, and acts on none, for some seconds before it says so."""
DELAY_S: Final = (1.0, 5.0)
"""Not all devices of a house at once."""
MIGRATE: Final = b'{"migrate_discovery":true}'
"""Has Home Assistant keep what it knows of a device while its announcement moves."""

_RETAINED: Final = (
    Leaf.AVAILABILITY,
    Leaf.INFO,
    Leaf.STATE,
    Leaf.HEALTH,
    Leaf.VOCABULARY_STATE,
)


class DiscoveryAnnouncer:
    """`device` None: nothing is announced, and what was is taken back.

    `settings`: names of those whose value is retained. `wake` is called when `due_s` has changed.
    """

    def __init__(
        self,
        device: Device | None,
        *,
        topics: Topics,
        settings: Sequence[str],
        store: SettingsStore,
        wake: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
        delay_s: Callable[[], float] = lambda: random.uniform(*DELAY_S),  # noqa: S311 - no secret
    ) -> None:
        self._device = device
        self._topics = topics
        self._settings = tuple(settings)
        self._store = store
        self._wake = wake
        self._clock_s = clock_s
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._due_s: float | None = None
        self._is_unconfirmed = False
        self._was_announced = bool(store.state.announced)
        self._has_announced = False

    @property
    def due_s(self) -> float | None:
        """Time of the next announcement, on the clock; None when nothing calls for it."""
        return self._due_s

    def on_status(self, _topic: str, payload: bytes) -> None:
        """Take note of what Home Assistant says of itself."""
        if payload != BIRTH or self._device is None:
            return
        with self._lock:
            if self._due_s is not None:
                return
            self._due_s = self._clock_s() + self._delay_s()
        log.info("homeassistant.started")
        self._wake()

    def describe(self, device: Device) -> None:
        """Announce another description, as soon as may be; nothing where there was none."""
        with self._lock:
            if self._device is None:
                return
            device = replace(device, microphone=self._device.microphone)
            if device == self._device:
                return
            self._device = device
            self._due_s = self._clock_s()
        self._wake()

    def input_changed(self, microphone: str) -> list[MqttMessage]:
        """Take note of the microphone in use; give what is to be published for it."""
        with self._lock:
            if self._device is None or self._device.microphone == microphone:
                return []
            self._device = replace(self._device, microphone=microphone)
            return [announcement(self._device)] if self._has_announced else []

    def withdraw(self) -> list[MqttMessage]:
        """Take the device back that this run brought; one of an earlier run stays.

        For a file that was played: nobody is to be left with a device that never comes back.
        """
        with self._lock:
            if self._was_announced:
                return []
            self._device = None
        return self.messages()

    def messages(self) -> list[MqttMessage]:
        """Give what to publish now, and remember it as announced."""
        with self._lock:
            self._due_s = None
            earlier = self._store.state.announced
            current = self._current()
            messages = []
            removals = [
                message for old in earlier for message in self._removal(old, current=current)
            ]
            if current is not None and self._device is not None:
                same = [a for a in earlier if a.topic == current.topic]
                dropped = {
                    name: platform
                    for a in same
                    for name, platform in a.components.items()
                    if name not in current.components
                }
                messages += [
                    MqttMessage(old.topic, MIGRATE)
                    for old in earlier
                    if old.topic != current.topic and not same
                ]
                messages.append(announcement(self._device, dropped=dropped))
                self._has_announced = True
                if current not in earlier:
                    # With the earlier ones, until `confirmed`: after a crash they must still be
                    # taken back.
                    self._store.announce((*earlier, current))
            self._is_unconfirmed = True
            # Announced before it is taken back: a device moves to its new topic, and is never gone.
            return [*messages, *removals]

    def confirmed(self) -> None:
        """Forget what was taken back: the broker has everything that `messages` gave."""
        with self._lock:
            if self._is_unconfirmed:
                self._is_unconfirmed = False
                current = self._current()
                self._store.announce(() if current is None else (current,))

    def _current(self) -> Announcement | None:
        if self._device is None:
            return None
        message = announcement(self._device)
        platforms = {name: c["platform"] for name, c in components(self._device).items()}
        return Announcement(message.topic, self._topics.root, platforms)

    def _removal(self, old: Announcement, *, current: Announcement | None) -> list[MqttMessage]:
        """Take back what is no more: an announcement, or all that is retained below a root."""
        topics = [old.topic] if current is None or old.topic != current.topic else []
        if old.root != self._topics.root:
            topics += [f"{old.root}/{leaf.value}" for leaf in _RETAINED]
            topics += [f"{old.root}/{name}/state" for name in self._settings]
        if topics:
            log.info("homeassistant.taken_back", topic=old.topic, root=old.root)
        return [MqttMessage(topic, b"", retain=True) for topic in topics]


class Presence:
    """Commands by MQTT that Home Assistant may have missed, by its own word on being there.

    Called from several threads; what they write is one value. `report` tells the owner.
    """

    def __init__(
        self,
        report: Callable[[ErrorRaised], None],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._clock_s = clock_s
        self._is_away = False
        self._last = ("", -ENDING_S)
        """The session of the last command, and when it came."""

    def on_status(self, _topic: str, payload: bytes) -> None:
        """Take note of what Home Assistant says of itself."""
        was_away, self._is_away = self._is_away, payload == WILL
        session_id, at_s = self._last
        if self._is_away and not was_away and self._clock_s() - at_s < ENDING_S:
            self._report(_missed(session_id))

    def forget(self) -> None:
        """Begin anew with a connection: what was said before it came, nobody knows."""
        self._is_away = False

    def expect(self, session_id: str) -> None:
        """Take note of a command that is on its way to Home Assistant."""
        self._last = session_id, self._clock_s()
        if self._is_away:
            self._report(_missed(session_id))


def _missed(session_id: str) -> ErrorRaised:
    return ErrorRaised(
        "homeassistant.away",
        "Home Assistant is not connected to the broker: it may not have heard the command",
        "look whether it was done; say it again once Home Assistant runs",
        session_id,
    )
