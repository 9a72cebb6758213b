"""The daemon's MQTT client: stays connected, delivers what is not too old, hears commands.

One thread owns each connection in turn; `publish` only fills the outbox and never waits for the
network.
"""

import logging
import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from voice_daemon._lib.rate import TokenBucket
from voice_daemon.config import MqttSettings
from voice_daemon.errors import BrokerError, Problem
from voice_daemon.events import ErrorRaised
from voice_daemon.mqtt.commands import Command
from voice_daemon.mqtt.connect import Backoff, Connector, Timeouts
from voice_daemon.mqtt.connection import Connection, SelfPipe, broker_url
from voice_daemon.mqtt.delivery import Delivery
from voice_daemon.mqtt.errors import (
    Cause,
    LinkError,
    access_fault,
    internal_fault,
    limits_faults,
    overdue_fault,
    unacknowledged_fault,
)
from voice_daemon.mqtt.losses import Loss
from voice_daemon.mqtt.messages import availability, error_event, for_event
from voice_daemon.mqtt.outbox import Outbox, OutboxCounts, steady_s
from voice_daemon.mqtt.router import CommandRouter, Listener
from voice_daemon.mqtt.topics import BrokerLimits, MqttMessage, Topics
from voice_daemon.mqtt.twins import TwinWatch

DEAF_CODE: Final = "mqtt.deaf"
_ASK_AGAIN_S: Final = 60.0


class Subscriptions:
    """The subscriptions of one connection. `essential`: those without which we are deaf."""

    def __init__(
        self,
        connection: Connection,
        filters: tuple[str, ...],
        *,
        essential: Collection[str],
        answer_s: float,
        on_problem: Callable[[str, Problem | None], None],
        now_s: float,
    ) -> None:
        self._connection = connection
        self._filters = filters
        self._essential = frozenset(essential)
        self._answer_s = answer_s
        self._on_problem = on_problem
        self._answer_due_s = now_s + answer_s
        self._is_settled = False
        self._is_deaf = False
        connection.subscribe(filters)

    def check(self, user: str, *, now_s: float) -> tuple[BrokerError, ...]:
        """Look at the broker's answers; give what it refused to `user`, once each."""
        refused = tuple(self._connection.refused_filters)
        self._connection.refused_filters.clear()
        for one in refused:
            if one.topic_filter in self._essential:
                self._raise(
                    f"the broker refused the subscription to {one.topic_filter}: {one.reason}",
                    f"give {user!r} access to the daemon's topics in the broker's rules",
                )
        if not self._connection.is_subscribed and now_s >= self._answer_due_s:
            self._raise(
                f"the broker did not answer a subscription for {self._answer_s:g} s",
                "see the broker's log; the daemon asks again every minute",
            )
            self._answer_due_s = now_s + _ASK_AGAIN_S
            self._connection.subscribe(self._filters)
        elif self._connection.is_subscribed and not self._is_settled:
            self._is_settled = True
            # What an earlier connection raised is over only where this one was refused nothing.
            if not self._is_deaf:
                self._on_problem(DEAF_CODE, None)
        return tuple(
            access_fault(user, f"subscribing to {one.topic_filter}", one.reason) for one in refused
        )

    def _raise(self, why: str, remedy: str) -> None:
        self._is_deaf = True
        self._on_problem(
            DEAF_CODE, Problem("mqtt", f"commands over MQTT may not be heard: {why}", remedy)
        )


log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MqttStatus(OutboxCounts):
    """The client right now, and its counters since the start."""

    url: str
    client_id: str
    connected: bool
    protocol: str
    """`5` or `3.1.1`; empty before the first connection."""
    reconnects: int
    commands_ignored: int
    """Retained messages on command topics."""
    commands_refused: int
    last_error: BrokerError | None
    """The reason that it is not connected, or is hindered by the broker; None when well."""


_TURN_S: Final = 1.0
"""Longest sleep of the thread: expiry and keep-alive are looked after at least so often."""

_STABLE_S: Final = 10.0
"""A connection that lasted this long ends the back-off; one that fails at once does not."""

_STOPPING_RETRY_S: Final = 0.25
_ABANDON_S: Final = 1.0
"""Longest wait of `stop` for a thread that has nothing left to deliver."""

_ONLINE_BURST: Final = 5
_ONLINE_PER_S: Final = 1
"""Answers to `offline` said for us: whoever may write our availability must not drive us."""

_PASSES: Final = "mqtt.message_refused"


class MqttClient:
    """Publishes and hears commands, over any number of connections.

    `announce` is called after each connect and gives what to publish first; `on_command` gets
    each command and may raise `CommandError`; `listeners` get what is no command; `on_lost`
    gets each message that was given up, `on_sent` each before it leaves, `on_delivered` each that
    the broker has; `on_problem` a code with its problem, None when over. `finals_are_heard`: an
    earlier process saw that somebody listens to finals; one that nobody hears is sent again then.
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
        listeners: Sequence[Listener] = (),
        on_lost: Callable[[Loss], None] = lambda _: None,
        on_sent: Callable[[MqttMessage], None] = lambda _: None,
        on_delivered: Callable[[MqttMessage], None] = lambda _: None,
        on_problem: Callable[[str, Problem | None], None] = lambda _code, _problem: None,
        timeouts: Timeouts | None = None,
        finals_are_heard: bool = False,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._topics = topics
        self._announce = announce
        self._on_lost = on_lost
        self._on_sent = on_sent
        self._on_delivered = on_delivered
        self._on_problem = on_problem
        self._client_id = client_id
        self._user = settings.username or client_id
        self._url = broker_url(settings.host, settings.port, tls=settings.tls)
        self._online = availability(topics, online=True)
        self._offline = availability(topics, online=False)
        self._self_pipe = SelfPipe()
        self._outbox = Outbox(
            capacity=settings.offline_max,
            stall_s=self._timeouts.stall_s,
            never_aside={self._online.topic},
            finals_are_heard=finals_are_heard,
        )
        self._twins = TwinWatch(topics, on_problem)
        own = [
            Listener(self._online.topic, self._hear_availability),
            *(Listener(topic, self._twins.hear) for topic in self._twins.topics),
        ]
        self._router = CommandRouter(topics, on_command, listeners=[*own, *listeners])
        self._connector = Connector(
            settings,
            client_id=client_id,
            will=self._offline,
            self_pipe=self._self_pipe,
            timeouts=self._timeouts,
        )
        self._final_came_s = -math.inf
        self._backoff = Backoff(
            minimum_s=settings.reconnect_min_s, maximum_s=settings.reconnect_max_s
        )
        self._online_returned = False
        """True once this connection's `online` was heard from the broker."""
        self._owes_online = False
        self._online_brake = TokenBucket(burst=_ONLINE_BURST, per_s=_ONLINE_PER_S)
        self._told_limits: set[str] = set()
        # A daemon thread: one that hangs in the resolver must not keep the process from ending.
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
        if message.final_of is not None:
            self._final_came_s = steady_s()
        self._outbox.put(message)
        self._self_pipe.wake()

    def report_twin(self, sign: str) -> None:
        """Take a sign of another daemon under our node id; on the client's thread."""
        self._twins.report(sign)

    @property
    def finals_are_heard(self) -> bool:
        """True once somebody listened to a final."""
        return self._outbox.finals_are_heard

    def status(self) -> MqttStatus:
        """Read state and counters; callable from any thread."""
        return MqttStatus(
            **asdict(self._outbox.counts),
            url=self._url,
            client_id=self._client_id,
            connected=self._is_connected,
            protocol=self._protocol,
            reconnects=max(0, self._connections - 1),
            commands_ignored=self._router.ignored,
            commands_refused=self._router.refused,
            last_error=self._last_error,
        )

    def stop(self, timeout_s: float) -> bool:
        """Deliver what is there and `offline`, disconnect, and end the thread.

        Gives False when an event was lost (it is counted), or when a broker was there and did
        not confirm `offline`; it then says so by itself: our will.
        """
        is_worth_waiting = self._is_connected or self._outbox.holds_events
        self._stop_by_s = steady_s() + timeout_s
        self._self_pipe.wake()
        if self._thread.is_alive():
            # Not for ever, and hardly at all when nothing is at stake: the thread may hang in
            # the resolver. Left behind, it sends nothing and ends by itself.
            self._thread.join(timeout_s if is_worth_waiting else min(timeout_s, _ABANDON_S))
        self._outbox.close()
        self._settle_losses()
        if not self._thread.is_alive():
            self._self_pipe.close()
        return self._has_parted or not is_worth_waiting

    def _run(self) -> None:
        """Connect, serve, wait, again, until stopped."""
        try:
            while not self._should_end():
                began_s = steady_s()
                error = self._connect_and_serve()
                self._is_connected = False
                self._outbox.disconnected()
                self._settle_losses()
                if error is not None and not self._should_end():
                    self._wait_after(error, lasted_s=steady_s() - began_s)
        finally:
            self._self_pipe.close()

    def _connect_and_serve(self) -> BrokerError | None:
        """Live one connection from start to end; gives why it ended, None for our own stop."""
        try:
            connection = self._connector.connect(self._should_end)
            try:
                self._serve(connection, self._introduce(connection))
            finally:
                connection.abort()
        except BrokerError as error:
            return error
        except Exception as error:
            # A thread's top: a fault here is shown, and must not end MQTT for good.
            log.exception("mqtt.crashed")
            return internal_fault(error)
        return None

    def _introduce(self, connection: Connection) -> Subscriptions:
        """Subscribe, and say that we are here and what we are."""
        self._online_returned = self._owes_online = False
        self._twins.connected()
        subscriptions = Subscriptions(
            connection,
            self._router.filters,
            essential=self._router.essential_filters,
            answer_s=self._timeouts.acknowledge_s,
            on_problem=self._on_problem,
            now_s=steady_s(),
        )
        # Before the states are gathered: one that changes meanwhile is the newer word.
        mark = self._outbox.mark()
        first = (self._online, *self._announce())
        self._outbox.connected(first, mark=mark, limits=connection.limits)
        self._protocol = connection.protocol.value
        self._connections += 1
        self._last_error = None
        self._is_connected = True
        log.info("mqtt.connected", url=self._url, protocol=self._protocol)
        self._tell_limits(connection.limits)
        return subscriptions

    def _serve(self, connection: Connection, subscriptions: Subscriptions) -> None:
        """Work until stopped; raises `LinkError` when the connection ends otherwise."""
        delivery = Delivery(
            connection,
            self._outbox,
            user=self._user,
            sent=self._note_sent,
            delivered=self._on_delivered,
            report_error=self._report_error,
        )
        has_said_offline = False
        while (left_s := self._stop_by_s - steady_s()) > 0:
            if math.isfinite(left_s) and not has_said_offline:
                # Last in line: what is still to be delivered goes before it.
                self._outbox.put(self._offline)
                has_said_offline = True
            delivery.hand_over()
            if has_said_offline and self._outbox.is_empty and connection.is_flushed:
                connection.close(timeout_s=left_s)
                self._has_parted = True
                return
            try:
                connection.step(max(0.0, min(_TURN_S, left_s, self._outbox.final_due_s)))
            finally:
                # An acknowledgement that came just before the end spares a second sending.
                delivery.settle()
            self._receive(connection)
            for refusal in subscriptions.check(self._user, now_s=steady_s()):
                self._report_error(refusal)
            self._settle_losses()
            self._insist_on_answers()

    def _receive(self, connection: Connection) -> None:
        """Act on what the broker sent."""
        while connection.received:
            message = connection.received.popleft()
            for reply in self._router.receive(
                message.topic, message.payload, retain=message.retain, at=datetime.now(UTC)
            ):
                self._outbox.put(reply)
        self._say_online()

    def _hear_availability(self, _topic: str, payload: bytes) -> None:
        """Notice when somebody says that we are not here.

        A broker of several nodes may notice late that an older connection of ours is gone, and
        publish its will over the `online` of the one that took its place on another node. What
        comes before our own `online` has come back is only what was retained until then.
        """
        if payload == self._online.payload:
            self._online_returned = True
        elif self._online_returned and math.isinf(self._stop_by_s):
            self._owes_online = True
            self._twins.declared_offline()

    def _say_online(self) -> None:
        """Correct what was said of us, as often as the brake allows; the last word is ours."""
        if self._owes_online and self._online_brake.allows():
            self._owes_online = False
            log.warning(
                "mqtt.declared_offline", remedy="availability was republished; nothing to do"
            )
            self._outbox.put(self._online)

    def _insist_on_answers(self) -> None:
        """Raise `LinkError` when the broker owes an acknowledgement too long."""
        if self._outbox.final_due_s <= 0:
            raise overdue_fault(self._url)
        owed_s = self._outbox.oldest_unacknowledged_s
        if owed_s >= self._timeouts.acknowledge_s:
            raise unacknowledged_fault(self._url, owed_s)

    def _tell_limits(self, limits: BrokerLimits) -> None:
        """Say what the broker does not know that we would use; on `error` once a process."""
        for fault in limits_faults(limits):
            self._report_error(fault)
            if fault.message not in self._told_limits:
                self._told_limits.add(fault.message)
                self._put_event(error_event(fault))

    def _note_sent(self, message: MqttMessage) -> None:
        self._on_sent(message)
        self._twins.sent(message)

    def _settle_losses(self) -> None:
        """Count, log and hand on what was given up; report it once that can be done."""
        losses, reports = self._outbox.settle()
        for loss in losses:
            log.warning(
                "mqtt.message_lost",
                topic=loss.message.topic,
                why=loss.why.value,
                may_have_arrived=loss.may_have_arrived,
            )
            self._on_lost(loss)
        for report in reports:
            self._put_event(report)

    def _put_event(self, event: ErrorRaised) -> None:
        for message in for_event(event, topics=self._topics, at=datetime.now(UTC)):
            self._outbox.put(message)

    def _report_error(self, error: BrokerError | None, *, retry_s: float | None = None) -> None:
        """Show an error, and log it when it is not the one shown already.

        None: the broker takes messages, and what may pass has passed.
        """
        if error is None:
            if self._last_error is not None and self._last_error.code == _PASSES:
                self._last_error = None
            return
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
        cause = error.cause if isinstance(error, LinkError) else Cause.SETTINGS
        if cause in {Cause.SETTINGS, Cause.RETAIN, Cause.QOS}:
            # Only a person can change this: trying often would only fill both logs.
            delay_s = self._backoff.maximum_s
        elif cause is Cause.OVERDUE:
            # A proxy may still hold the late bytes. The broker drops the old connection, and
            # them with it, as soon as our client id comes back on a new one.
            delay_s = 0.0
        self._report_error(error, retry_s=round(delay_s, 1))
        # Somebody waits for a command: one that comes meanwhile is worth an attempt of its own.
        hurried_s = min(delay_s, self._backoff.minimum_s if cause is Cause.NETWORK else math.inf)
        began_s = steady_s()
        while not self._should_end():
            wait_s = hurried_s if self._final_came_s > began_s else delay_s
            if math.isfinite(self._stop_by_s):
                wait_s = min(wait_s, _STOPPING_RETRY_S)
            if (left_s := began_s + wait_s - steady_s()) <= 0:
                return
            self._self_pipe.wait(min(left_s, _TURN_S))
            self._settle_losses()

    def _should_end(self) -> bool:
        """Tell whether to stop, when there is nothing to connect for or no time left."""
        if math.isinf(self._stop_by_s):
            return False
        return steady_s() >= self._stop_by_s or not self._outbox.holds_events
