"""Routes what arrives from the broker: commands are passed on, bad ones answered with the fault."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from paho.mqtt.client import topic_matches_sub

from voice_daemon._lib.rate import TokenBucket
from voice_daemon.mqtt.commands import Command, CommandError, Kind, parse_command, response_message
from voice_daemon.mqtt.messages import error_event, for_event
from voice_daemon.mqtt.topics import MqttMessage, Topics


@dataclass(frozen=True, slots=True)
class Listener:
    """Wants topic and payload of what arrives on a filter; `hear` must not wait."""

    topic_filter: str
    hear: Callable[[str, bytes], None]
    live_only: bool = False
    """True: nothing retained; and without this subscription the daemon is deaf."""


log = structlog.get_logger()

CALLS_BURST: Final = 20
CALLS_PER_S: Final = 5
"""Rate limit for `cmd/<verb>`; `set` topics are coalesced instead."""
WORDS_BURST: Final = 10
WORDS_PER_S: Final = 2
"""Complaints and log lines about bad commands. A flood of them must not displace a final."""


class CommandRouter:
    """Turns messages into calls of `on_command`, which may raise `CommandError`.

    In a flood of commands, calls are refused, and most refusals are only counted.
    """

    def __init__(
        self,
        topics: Topics,
        on_command: Callable[[Command], None],
        *,
        listeners: Sequence[Listener] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ignored = 0
        """Retained commands, which are from the past."""
        self.refused = 0
        self._topics = topics
        self._on_command = on_command
        self._listeners = tuple(listeners)
        self._calls = TokenBucket(burst=CALLS_BURST, per_s=CALLS_PER_S, clock_s=clock_s)
        self._words = TokenBucket(burst=WORDS_BURST, per_s=WORDS_PER_S, clock_s=clock_s)

    @property
    def filters(self) -> tuple[str, ...]:
        """Every subscription that is needed."""
        return tuple(
            dict.fromkeys(
                (*self._topics.command_filters, *(one.topic_filter for one in self._listeners))
            )
        )

    @property
    def essential_filters(self) -> tuple[str, ...]:
        """Those without which the daemon does not hear what is asked of it now."""
        live = (one.topic_filter for one in self._listeners if one.live_only)
        return (*self._topics.command_filters, *live)

    def receive(
        self, topic: str, payload: bytes, *, retain: bool, at: datetime
    ) -> tuple[MqttMessage, ...]:
        """Act on one message; gives what to publish about it when it was bad."""
        heard_by = [one for one in self._listeners if topic_matches_sub(one.topic_filter, topic)]
        for listener in heard_by:
            # What somebody left there says nothing of now.
            if not (retain and listener.live_only):
                listener.hear(topic, payload)
        if heard_by:  # what is listened to is no command, whatever it says
            return ()
        if retain:  # one from the past: each reconnect would start a session that nobody asked for
            self.ignored += 1
            if self._words.allows():
                log.warning("mqtt.retained_command_ignored", topic=topic, so_far=self.ignored)
            return ()
        try:
            command = parse_command(topic, payload, topics=self._topics)
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
