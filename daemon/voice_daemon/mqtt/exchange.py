"""What goes to and fro over one connection: messages out, the broker's answers and commands in.

Owns which of our messages an answer is about, for as long as the connection lasts. Knows nothing
of connecting, of time or of what messages say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from voice_daemon.mqtt.errors import access_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from voice_daemon.errors import BrokerError
    from voice_daemon.mqtt.connection import Link, Receipt
    from voice_daemon.mqtt.mailbox import Mailbox, Outgoing
    from voice_daemon.mqtt.router import Reception

log = structlog.get_logger()


class Exchange:
    """Serves an open link. `user`: as whom; `blame` is told what the broker does not let it do."""

    def __init__(
        self,
        link: Link,
        mailbox: Mailbox,
        *,
        reception: Reception,
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

    def _settle(self, receipt: Receipt) -> None:
        """Take the broker's word on one message of ours."""
        ticket = self._tickets.pop(receipt.mid, None)
        if ticket is not None:
            self._mailbox.acknowledge(ticket, refused=receipt.refusal is not None)
        final_of = self._finals.pop(receipt.mid, None)
        if final_of is not None and receipt.refusal is None:
            log.info("mqtt.final_delivered", session_id=final_of)
        if receipt.refusal is not None:
            self._blame(access_fault(self._user, "publishing", receipt.refusal))
