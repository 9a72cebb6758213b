"""What arrives from the broker: commands are passed on, bad ones answered with what is wrong.

Whoever asked for other topics gets what comes on those. Knows nothing of connections, of what
commands do or of what else is listened to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog
from paho.mqtt.client import topic_matches_sub

from voice_daemon.mqtt.commands import Command, CommandError, Kind, parse_command, response_message
from voice_daemon.mqtt.messages import error_event, for_event
from voice_daemon.mqtt.rate import TokenBucket
from voice_daemon.mqtt.topics import MqttMessage, Topics

Listener = Callable[[str, bytes], None]
"""Gets topic and payload of what arrives on a filter that it asked for; must not wait."""

log = structlog.get_logger()

CALLS_BURST: Final = 20
CALLS_PER_S: Final = 5
"""Of `cmd/<verb>`, which all are answered. Settings are not counted: of many, the last is done."""
WORDS_BURST: Final = 10
WORDS_PER_S: Final = 2
"""Complaints and log lines about bad commands. A flood of them must not displace a final."""


class CommandRouter:
    """Turns messages into calls of `on_command`, which may raise `CommandError`.

    `listeners`: who hears what is no command, by topic filter; they get retained messages too,
    those in `live` only what is said now.

    In a flood of commands, calls are refused, and most refusals are only counted.
    """

    def __init__(
        self,
        topics: Topics,
        on_command: Callable[[Command], None],
        *,
        listeners: Mapping[str, Listener] | None = None,
        live: Mapping[str, Listener] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ignored = 0
        """Retained commands, which are from the past."""
        self.refused = 0
        self._topics = topics
        self._on_command = on_command
        self._live = dict(live or {})
        self._listeners = {**(listeners or {}), **self._live}
        self._calls = TokenBucket(burst=CALLS_BURST, per_s=CALLS_PER_S, clock_s=clock_s)
        self._words = TokenBucket(burst=WORDS_BURST, per_s=WORDS_PER_S, clock_s=clock_s)

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        return (*self._topics.command_filters, *self._listeners)

    def receive(
        self, topic: str, payload: bytes, *, retain: bool, at: datetime
    ) -> tuple[MqttMessage, ...]:
        """Act on one message; gives what to publish about it when it was bad."""
        heard_by = [f for f in self._listeners if topic_matches_sub(f, topic)]
        for heard in heard_by:
            if not (retain and heard in self._live):
                self._listeners[heard](topic, payload)
        if heard_by:
            return ()
        if retain:
            self.ignored += 1
            if self._words.allows():
                log.warning("mqtt.retained_command_ignored", topic=topic, so_far=self.ignored)
            return ()
        try:
            command = parse_command(topic, payload, retain=False, topics=self._topics)
            if command is not None:
                self._obey(command)
        except CommandError as error:
            self.refused += 1
            if self._words.allows():
                log.warning(
                    "mqtt.command_refused", code=error.code, topic=topic, so_far=self.refused
                )
                return self._complaint(error, at)
        return ()

    def _obey(self, command: Command) -> None:
        if command.kind is Kind.CALL and not self._calls.allows():
            raise command.refusal(
                "command.too_many",
                f"more than {CALLS_PER_S} commands a second",
                remedy="send fewer, and wait for the answers",
            )
        self._on_command(command)

    def _complaint(self, error: CommandError, at: datetime) -> tuple[MqttMessage, ...]:
        told = for_event(error_event(error), topics=self._topics, at=at)
        if error.command.kind is not Kind.CALL or not error.command.is_named:
            return told
        return (*told, response_message(error.command, topics=self._topics, error=error))
