"""The daemon's MQTT client: stays connected, delivers what is not too old, hears commands.

One thread owns each connection in turn; `publish` only fills the mailbox and never waits for
the network. Knows nothing of what messages say, beyond `availability` and the report of a
lost final.
"""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from voice_daemon.config import MqttSettings
from voice_daemon.errors import BrokerError
from voice_daemon.mqtt.connect import Connector, Timeouts
from voice_daemon.mqtt.connection import Connection, PubAck, SelfPipe, broker_url
from voice_daemon.mqtt.errors import (
    Cause,
    LinkError,
    access_fault,
    internal_fault,
    unacknowledged_fault,
)
from voice_daemon.mqtt.messages import Command, Leaf, MqttMessage, Topics, availability, for_event
from voice_daemon.mqtt.outbox import Loss, Mailbox, Outgoing, steady_s
from voice_daemon.mqtt.rate import Backoff
from voice_daemon.mqtt.router import CommandRouter, Listener

log = structlog.get_logger()


class Exchange:
    """Serves an open link. `user`: as whom; `blame` is told what the broker does not let it do."""

    def __init__(
        self,
        link: Connection,
        mailbox: Mailbox,
        *,
        reception: CommandRouter,
        user: str,
        blame: Callable[[BrokerError], None],
    ) -> None:
        self._link = link
        self._mailbox = mailbox
        self._reception = reception
        self._user = user
        self._blame = blame
        self._tickets: dict[int, int] = {}
        """By the broker's number of a message."""
        self._finals: dict[int, str] = {}
        """Sessions whose final was sent and not acknowledged, by the same."""

    def hand_over(self) -> None:
        """Give the link what it can take."""
        while self._link.is_flushed:
            outgoing = self._mailbox.take()
            if outgoing is None:
                return
            try:
                mid = self._link.publish(outgoing.message, expiry_s=outgoing.expiry_s)
            except ValueError as error:
                self._give_up(outgoing, error)
                continue
            if outgoing.ticket is not None:
                self._tickets[mid] = outgoing.ticket
            if outgoing.message.final_of is not None:
                self._finals[mid] = outgoing.message.final_of
            self._link.flush()

    def _give_up(self, outgoing: Outgoing, why: ValueError) -> None:
        """Drop what no connection could carry: each would end over it, one after the other."""
        log.error("mqtt.unsendable", topic=outgoing.message.topic, reason=str(why))
        if outgoing.ticket is not None:
            self._mailbox.acknowledge(outgoing.ticket, refused=True)

    def take_in(self) -> None:
        """Act on what the broker sent."""
        link = self._link
        while link.receipts:
            self._settle(link.receipts.popleft())
        while link.refused_filters:
            reason = link.refused_filters.popleft()
            self._blame(access_fault(self._user, "subscribing to commands", reason))
        while link.received:
            message = link.received.popleft()
            for reply in self._reception.receive(
                message.topic, message.payload, retain=message.retain, at=datetime.now(UTC)
            ):
                self._mailbox.put(reply)

    def _settle(self, receipt: PubAck) -> None:
        """Take the broker's word on one message of ours."""
        ticket = self._tickets.pop(receipt.mid, None)
        if ticket is not None:
            self._mailbox.acknowledge(ticket, refused=receipt.refusal is not None)
        final_of = self._finals.pop(receipt.mid, None)
        if final_of is not None and receipt.refusal is None:
            log.info("mqtt.final_delivered", session_id=final_of)
        if receipt.refusal is not None:
            self._blame(access_fault(self._user, "publishing", receipt.refusal))


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


_TURN_S: Final = 1.0
"""Longest sleep of the thread: expiry and keep-alive are looked after at least so often."""

_STABLE_S: Final = 10.0
"""A connection that lasted this long ends the back-off; one that fails at once does not."""

_STOPPING_RETRY_S: Final = 0.25
_ABANDON_S: Final = 1.0
"""How long `stop` waits for a thread that has nothing left to deliver."""


class MqttClient:
    """Publishes and hears commands, over any number of connections.

    `announce` is called after each connect and gives what to publish first; `on_command` gets
    each command and may raise `CommandError`; `listeners` get what comes on the topic filters
    that they stand for, those in `live` nothing retained; `on_lost` gets each message that was
    given up.
    They are called on the client's thread and must not wait (`on_lost` also by `stop`). A lost
    final is reported on `error` by the client itself, once connected.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        topics: Topics,
        on_command: Callable[[Command], None],
        announce: Callable[[], Sequence[MqttMessage]],
        listeners: Mapping[str, Listener] | None = None,
        live: Mapping[str, Listener] | None = None,
        on_lost: Callable[[Loss], None] = lambda _: None,
        patience: Timeouts | None = None,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        self._patience = patience or Timeouts()
        self._topics = topics
        self._announce = announce
        self._on_lost = on_lost
        self._client_id = client_id
        self._user = settings.username or client_id
        self._url = broker_url(settings.host, settings.port, tls=settings.tls)
        self._waker = SelfPipe()
        self._mailbox = Mailbox(capacity=settings.offline_max, stall_s=self._patience.stall_s)
        self._reception = CommandRouter(
            topics,
            on_command,
            listeners={**(listeners or {}), topics.path(Leaf.AVAILABILITY): self._hear_of_us},
            live=live,
        )
        self._dialler = Connector(
            settings,
            client_id=client_id,
            will=availability(topics, online=False),
            waker=self._waker,
            patience=self._patience,
        )
        self._backoff = Backoff(
            minimum_s=settings.reconnect_min_s,
            maximum_s=settings.reconnect_max_s,
            random_unit=random_unit,
        )
        self._has_come_back = False
        """Whether this connection's `online` was heard from the broker."""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        # Each of these is written by one thread and read by others.
        self._stop_by_s = math.inf
        self._is_connected = False
        self._has_parted = False
        self._connections = 0
        self._protocol = ""
        self._last_error: BrokerError | None = None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def publish(self, message: MqttMessage) -> None:
        """Hand a message over. Never waits; callable from any thread."""
        self._mailbox.put(message)
        self._waker.wake()

    def status(self) -> MqttStatus:
        """Take a picture; callable from any thread."""
        counts = self._mailbox.counts
        return MqttStatus(
            url=self._url,
            client_id=self._client_id,
            connected=self._is_connected,
            protocol=self._protocol,
            queued=counts.queued,
            dropped=counts.dropped,
            expired=counts.expired,
            finals_lost=counts.finals_lost,
            partials_skipped=counts.partials_skipped,
            reconnects=max(0, self._connections - 1),
            commands_ignored=self._reception.ignored,
            commands_refused=self._reception.refused,
            last_error=self._last_error,
        )

    def stop(self, timeout_s: float) -> bool:
        """Deliver what is there and `offline`, disconnect, and end the thread.

        Gives False when an event was lost (it is counted), or when a broker was there and did
        not confirm `offline`; it then says so by itself: our will.
        """
        is_worth_waiting = self._is_connected or self._mailbox.holds_events
        self._stop_by_s = steady_s() + timeout_s
        self._waker.wake()
        if self._thread.is_alive():
            # Not for ever, and hardly at all when nothing is at stake: the thread may hang in
            # the resolver. Left behind, it sends nothing and ends by itself.
            self._thread.join(timeout_s if is_worth_waiting else min(timeout_s, _ABANDON_S))
        self._mailbox.close()
        self._account_for_losses()
        if not self._thread.is_alive():
            self._waker.close()
        return self._has_parted or not is_worth_waiting

    def _run(self) -> None:
        """Connect, serve, wait, again, until stopped."""
        try:
            while not self._should_end():
                began_s = steady_s()
                error = self._connect_and_serve()
                self._is_connected = False
                self._mailbox.link_down()
                self._account_for_losses()
                if error is not None and not self._should_end():
                    self._wait_after(error, lasted_s=steady_s() - began_s)
        finally:
            self._waker.close()

    def _connect_and_serve(self) -> BrokerError | None:
        """Live one connection from start to end; gives why it ended, None for our own stop."""
        try:
            link = self._dialler.dial(self._should_end)
            try:
                self._introduce(link)
                self._serve(link)
            finally:
                link.abort()
        except BrokerError as error:
            return error
        except Exception as error:
            # A thread's top: a fault here is shown, and must not end MQTT for good.
            log.exception("mqtt.crashed")
            return internal_fault(error)
        return None

    def _introduce(self, link: Connection) -> None:
        """Say that we are here, and what we are."""
        self._has_come_back = False
        link.subscribe(self._reception.filters)
        mark = self._mailbox.mark()
        first = (availability(self._topics, online=True), *self._announce())
        self._mailbox.link_up(first, mark=mark, receive_maximum=link.receive_maximum)
        self._protocol = link.protocol.value
        self._connections += 1
        self._last_error = None
        self._is_connected = True
        log.info("mqtt.connected", url=self._url, protocol=self._protocol)

    def _serve(self, link: Connection) -> None:
        """Work until stopped; raises `LinkError` when the connection ends otherwise."""
        exchange = Exchange(
            link, self._mailbox, reception=self._reception, user=self._user, blame=self._blame
        )
        has_said_offline = False
        while (left_s := self._stop_by_s - steady_s()) > 0:
            if math.isfinite(left_s) and not has_said_offline:
                self._mailbox.put(availability(self._topics, online=False))
                has_said_offline = True
            exchange.hand_over()
            if has_said_offline and self._mailbox.is_empty and link.is_flushed:
                link.close(timeout_s=left_s)
                self._has_parted = True
                return
            link.step(min(_TURN_S, left_s))
            exchange.take_in()
            self._account_for_losses()
            self._insist_on_answers()

    def _hear_of_us(self, _topic: str, payload: bytes) -> None:
        """Say again that we are here, when somebody says that we are not.

        A broker of several nodes may notice late that an older connection of ours is gone, and
        publish its will over the `online` of the one that took its place on another node. What
        comes before our own `online` has come back is only what was retained until then.
        """
        online = availability(self._topics, online=True)
        if payload == online.payload:
            self._has_come_back = True
        elif self._has_come_back and math.isinf(self._stop_by_s):
            log.warning("mqtt.declared_offline", remedy="none: it was said again that we are here")
            self._mailbox.put(online)

    def _insist_on_answers(self) -> None:
        """Raise `LinkError` when the broker owes an acknowledgement too long."""
        owed_s = self._mailbox.oldest_unacknowledged_s
        if owed_s >= self._patience.acknowledge_s:
            raise unacknowledged_fault(self._url, owed_s)

    def _account_for_losses(self) -> None:
        """Count, log and hand on what was given up; report finals once they can be."""
        losses, report = self._mailbox.settle()
        for loss in losses:
            log.warning("mqtt.message_lost", topic=loss.message.topic, why=loss.why.value)
            self._on_lost(loss)
        if report is not None:
            for message in for_event(report, topics=self._topics, at=datetime.now(UTC)):
                self._mailbox.put(message)

    def _blame(self, error: BrokerError, *, retry_s: float | None = None) -> None:
        """Show an error, and log it when it is not the one shown already."""
        is_news = self._last_error is None or self._last_error.message != error.message
        self._last_error = error
        log.log(
            logging.WARNING if is_news else logging.DEBUG,
            "mqtt.fault",
            code=error.code,
            reason=error.message,
            remedy=error.remedy,
            retry_s=retry_s,
        )

    def _wait_after(self, error: BrokerError, *, lasted_s: float) -> None:
        """Wait until the next attempt is due, looking after expiry meanwhile."""
        if lasted_s >= _STABLE_S:
            self._backoff.reset()
        delay_s = self._backoff.next_s()
        if not isinstance(error, LinkError) or error.cause is Cause.SETTINGS:
            delay_s = self._backoff.maximum_s
        self._blame(error, retry_s=round(delay_s, 1))
        began_s = steady_s()
        while not self._should_end():
            if math.isfinite(self._stop_by_s):
                delay_s = min(delay_s, _STOPPING_RETRY_S)
            left_s = began_s + delay_s - steady_s()
            if left_s <= 0:
                return
            self._waker.wait(min(left_s, _TURN_S))
            self._account_for_losses()

    def _should_end(self) -> bool:
        """Tell whether to stop, when there is nothing to connect for or no time left."""
        if math.isinf(self._stop_by_s):
            return False
        return steady_s() >= self._stop_by_s or not self._mailbox.holds_events
