"""Carries messages from the outbox over one open connection, and the broker's word back."""

from collections.abc import Callable

import structlog

from voice_daemon.errors import BrokerError
from voice_daemon.mqtt.connection import Connection, PubAck
from voice_daemon.mqtt.errors import (
    ABOUT_ONE_MESSAGE,
    FORBIDDEN,
    NOBODY_LISTENS,
    access_fault,
    busy_fault,
    message_fault,
)
from voice_daemon.mqtt.losses import LossReason
from voice_daemon.mqtt.outbox import Outbox, OutboxEntry
from voice_daemon.mqtt.topics import MqttMessage

log = structlog.get_logger()


class Delivery:
    """Messages on their way over one connection, published as `user`.

    `sent` is told of each message before it leaves, `delivered` of each that the broker has, and
    `report_error` what it turned down.
    """

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        *,
        user: str,
        sent: Callable[[MqttMessage], None],
        delivered: Callable[[MqttMessage], None],
        report_error: Callable[[BrokerError | None], None],
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._user = user
        self._sent = sent
        self._delivered = delivered
        self._report_error = report_error
        self._in_flight: dict[int, OutboxEntry] = {}
        """Entries by the packet id of their acknowledgement."""

    def hand_over(self) -> None:
        """Give the connection what it can take."""
        while self._connection.is_flushed:
            entry = self._outbox.take()
            if entry is None:
                return
            # Told before, not after: a process that is killed in between may have sent it.
            self._sent(entry.message)
            try:
                mid = self._connection.publish(
                    entry.message, expiry_s=entry.expiry_s, is_again=entry.sendings > 1
                )
            except ValueError as error:
                # No connection could carry it: each would end over it, one after the other.
                log.error(  # noqa: TRY400 - the traceback shows paho alone
                    "mqtt.unsendable", topic=entry.message.topic, reason=str(error)
                )
                self._outbox.refuse(entry.ticket, LossReason.REJECTED)
                continue
            if min(entry.message.qos, self._connection.limits.maximum_qos) > 0:
                self._in_flight[mid] = entry
            else:  # nothing will confirm it
                self._delivered(entry.message)
                if entry.message.final_of is not None:
                    log.info("mqtt.final_sent", session_id=entry.message.final_of)
            self._connection.flush()

    def settle(self) -> None:
        """Take the broker's word on what it got."""
        while self._connection.receipts:
            ack = self._connection.receipts.popleft()
            entry = self._in_flight.pop(ack.mid, None)
            if entry is None:
                continue
            is_heard = ack.code != NOBODY_LISTENS
            if not is_heard and self._outbox.wait_for_a_listener(entry.ticket):
                log.info("mqtt.nobody_listens", session_id=entry.message.final_of)
            elif ack.refusal is None:
                self._outbox.acknowledge(entry.ticket, is_heard=is_heard)
                self._delivered(entry.message)
                self._report_error(None)
                if entry.message.final_of is not None:
                    log.info("mqtt.final_delivered", session_id=entry.message.final_of)
            else:
                self._refused(entry, ack, ack.refusal)

    def _refused(self, entry: OutboxEntry, ack: PubAck, reason: str) -> None:
        """Act by kind: rules are final, a fault of one message sets it aside, the rest may pass."""
        topic = entry.message.topic
        if ack.code == FORBIDDEN:
            self._outbox.refuse(entry.ticket, LossReason.REFUSED)
            self._report_error(access_fault(self._user, f"publishing on {topic}", reason))
        elif ack.code in ABOUT_ONE_MESSAGE:
            self._outbox.refuse(entry.ticket, LossReason.REJECTED)
            self._report_error(message_fault(topic, reason))
        else:
            self._outbox.refuse(entry.ticket, None)
            self._report_error(busy_fault(topic, reason))
