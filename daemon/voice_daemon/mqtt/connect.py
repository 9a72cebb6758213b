"""Opens links: to whom, as whom, and by which MQTT version.

Remembers the version that the broker takes. Knows nothing of retries or of messages beyond
the will.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from voice_daemon.config import MqttSettings
from voice_daemon.mqtt.connection import Connection, Protocol, SelfPipe, Target
from voice_daemon.mqtt.errors import Cause, LinkError, connect_fault
from voice_daemon.mqtt.tls import find_password, tls_context
from voice_daemon.mqtt.topics import MqttMessage

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the broker is waited for."""

    connect_s: float = 10.0
    """For each address of the host, and for the TLS handshake."""
    probe_s: float = 2.0
    """For the welcome by MQTT 5 while it is not known whether the broker speaks it: amqtt
    waits for more of a packet that it misreads."""
    answer_s: float = 10.0
    """For the welcome otherwise."""
    acknowledge_s: float = 10.0
    """For a message; past it the connection is taken for dead, in time to send again."""
    stall_s: float = 3.0
    """For a message; past it no more are sent after it."""


class Connector:
    """Opens one link after another to the same broker."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        will: MqttMessage,
        waker: SelfPipe,
        patience: Timeouts,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._waker = waker
        self._patience = patience
        self._proven: Protocol | None = None

    def dial(self, cancelled: Callable[[], bool]) -> Connection:
        """Connect, by MQTT 3.1.1 if the broker does not take 5.

        Raises `LinkError`, and `BrokerError` for files that cannot be used. `cancelled` is
        asked while waiting.
        """
        target = self._target()
        answer_s = self._patience.answer_s
        if self._proven is not None:
            return self._open(target, self._proven, answer_s, cancelled)
        is_sure = True
        try:
            link = self._open(target, Protocol.V5, self._patience.probe_s, cancelled)
        except LinkError as error:
            if error.cause not in {Cause.PROTOCOL, Cause.SILENCE}:
                raise
            is_sure = error.cause is Cause.PROTOCOL
            link = self._open(target, Protocol.V311, answer_s, cancelled)
            log.warning("mqtt.protocol_fallback", url=target.url, protocol=link.protocol.value)
        if is_sure:  # a broker that was only slow shall have its chance at the next connection
            self._proven = link.protocol
        return link

    def _target(self) -> Target:
        """Put the settings together with what the files hold now."""
        settings = self._settings
        context = None
        if settings.tls:
            context = tls_context(
                ca_file=settings.ca_file, cert_file=settings.cert_file, key_file=settings.key_file
            )
        return Target(
            host=settings.host,
            port=settings.port,
            client_id=self._client_id,
            keepalive_s=settings.keepalive_s,
            username=settings.username,
            password=find_password(settings.password_file),
            tls=context,
        )

    def _open(
        self, target: Target, protocol: Protocol, answer_s: float, cancelled: Callable[[], bool]
    ) -> Connection:
        try:
            link = Connection(target, protocol, will=self._will, waker=self._waker)
        except OSError as error:  # no file descriptor is left
            raise connect_fault(error, target.url) from error
        try:
            link.open(
                connect_timeout_s=self._patience.connect_s,
                answer_timeout_s=answer_s,
                cancelled=cancelled,
            )
        except LinkError:
            link.abort()
            raise
        return link
