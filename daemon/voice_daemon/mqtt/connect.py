"""Connects to the broker, falling back from MQTT 5 to 3.1.1."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from voice_daemon.config import MqttSettings
from voice_daemon.mqtt.connection import Connection, Protocol, SelfPipe, Target
from voice_daemon.mqtt.errors import Cause, LinkError, connect_fault
from voice_daemon.mqtt.tls import find_password, tls_context
from voice_daemon.mqtt.topics import MqttMessage

log = structlog.get_logger()


class Backoff:
    """Delays between `minimum_s` and a ceiling that doubles up to `maximum_s`.

    Full jitter, so that a house full of clients does not return to a restarted broker in step
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    def __init__(
        self,
        *,
        minimum_s: float,
        maximum_s: float,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        self.maximum_s = max(minimum_s, maximum_s)
        self.minimum_s = minimum_s
        self._random_unit = random_unit
        self._ceiling_s = minimum_s

    def next_s(self) -> float:
        """Give the delay after one more failure; `random_unit` gives 0..1."""
        self._ceiling_s = min(self.maximum_s, 2 * self._ceiling_s)
        return self.minimum_s + self._random_unit() * (self._ceiling_s - self.minimum_s)

    def reset(self) -> None:
        """Begin anew: the connection held."""
        self._ceiling_s = self.minimum_s


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits on waiting for the broker."""

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
    """Opens one connection after another to the same broker."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        will: MqttMessage,
        self_pipe: SelfPipe,
        timeouts: Timeouts,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._self_pipe = self_pipe
        self._timeouts = timeouts
        self._proven: Protocol | None = None

    def connect(self, cancelled: Callable[[], bool]) -> Connection:
        """Connect, by MQTT 3.1.1 if the broker does not take 5.

        Raises `LinkError`, and `BrokerError` for files that cannot be used. `cancelled` is
        asked while waiting.
        """
        target = self._target()
        answer_s = self._timeouts.answer_s
        if self._proven is not None:
            return self._open(target, self._proven, answer_s, cancelled)
        is_sure = True
        try:
            connection = self._open(target, Protocol.V5, self._timeouts.probe_s, cancelled)
        except LinkError as error:
            # Anything else, such as a refused password, 3.1.1 would meet as well.
            if error.cause not in {Cause.PROTOCOL, Cause.SILENCE}:
                raise
            is_sure = error.cause is Cause.PROTOCOL
            connection = self._open(target, Protocol.V311, answer_s, cancelled)
            log.warning(
                "mqtt.protocol_fallback", url=target.url, protocol=connection.protocol.value
            )
        if is_sure:  # a broker that was only slow shall have its chance at the next connection
            self._proven = connection.protocol
        return connection

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
            silence_s=min(settings.final_ttl_s, self._timeouts.acknowledge_s),
        )

    def _open(
        self, target: Target, protocol: Protocol, answer_s: float, cancelled: Callable[[], bool]
    ) -> Connection:
        """Connect by one version, with a lesser will where the broker does not take ours."""
        while True:
            try:
                return self._try(target, protocol, answer_s, cancelled)
            except LinkError as error:
                lesser = _lesser_will(self._will, error.cause)
                if lesser == self._will:
                    raise
                # For good: the broker does not learn what it lacks.
                self._will = lesser

    def _try(
        self, target: Target, protocol: Protocol, answer_s: float, cancelled: Callable[[], bool]
    ) -> Connection:
        try:
            connection = Connection(target, protocol, will=self._will, self_pipe=self._self_pipe)
        except OSError as error:  # no file descriptor is left
            raise connect_fault(error, target.url) from error
        try:
            connection.open(
                connect_timeout_s=self._timeouts.connect_s,
                answer_timeout_s=answer_s,
                cancelled=cancelled,
            )
        except LinkError:
            connection.abort()
            raise
        return connection


def _lesser_will(will: MqttMessage, refused_for: Cause) -> MqttMessage:
    """Give a will that the broker may take; the same where that is not what it refused."""
    if refused_for is Cause.RETAIN:
        return replace(will, retain=False)
    if refused_for is Cause.QOS:
        return replace(will, qos=0)
    return will
