"""Checks of the way to the broker, step by step: name, port, TLS, login, access, Home Assistant.

A client of its own asks. What it publishes changes nothing: a word on a topic of its own, and what
is retained already, once more.
"""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from voice_daemon.config import HomeAssistantSettings, MqttSettings, Settings
from voice_daemon.doctor.checks import Finding, Verdict, fail, failed, ok, skip, warn
from voice_daemon.errors import BrokerError
from voice_daemon.homeassistant.discovery import config_topic
from voice_daemon.mqtt.connect import Connector, Timeouts
from voice_daemon.mqtt.connection import Connection, SelfPipe, broker_url
from voice_daemon.mqtt.errors import connect_fault
from voice_daemon.mqtt.messages import availability
from voice_daemon.mqtt.tls import tls_context
from voice_daemon.mqtt.topics import (
    Leaf,
    MqttMessage,
    Topics,
    default_client_id,
    encode_json,
)

NETWORK_TIMEOUT_S: Final = 5.0
ANSWER_S: Final = 3.0
TWIN_WAIT_S: Final = 1.0
"""For answers to one question; each takes milliseconds."""
EXPIRES_SOON_S: Final = 14 * 24 * 3600.0
_TIMEOUTS: Final = Timeouts(connect_s=NETWORK_TIMEOUT_S, answer_s=NETWORK_TIMEOUT_S)
_STEP_S: Final = 0.05
_INSIDE: Final = ("broker login", "broker access", "node id", "home assistant")
_LOOPBACK: Final = ("127.", "localhost", "::1")


@dataclass(slots=True)
class BrokerCheck:
    """One look at the broker. `is_running`: a daemon runs, which has the word on its topics.

    `born_at`: when the log last told of Home Assistant's start; None if it does not.
    """

    settings: Settings
    is_running: bool
    born_at: str | None = None
    _retained: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> Iterator[Finding]:
        """Take one step after another; after one that fails the others cannot be taken."""
        steps = (
            ("broker name", self._name),
            ("broker port", self._port),
            ("broker tls", self._tls),
        )
        for at, (name, step) in enumerate(steps, 1):
            found = _findings(name, step)
            yield from found
            if any(finding.verdict is Verdict.FAIL for finding in found):
                yield from _not_tried(*(left for left, _ in steps[at:]), *_INSIDE)
                return
        yield from self._inside()

    @property
    def _mqtt(self) -> MqttSettings:
        return self.settings.mqtt

    @property
    def _url(self) -> str:
        return broker_url(self._mqtt.host, self._mqtt.port, tls=self._mqtt.tls)

    @property
    def _topics(self) -> Topics:
        return Topics(self._mqtt.base_topic, self.settings.node_id)

    def _name(self) -> Iterator[Finding]:
        host = self._mqtt.host
        try:
            found = socket.getaddrinfo(host, self._mqtt.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise connect_fault(error, self._url) from error
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        known = ", ".join(addresses)
        yield ok("broker name", host if known == host else f"{host} is {known}")

    def _port(self) -> Iterator[Finding]:
        with self._connection():
            yield ok("broker port", f"{self._url} takes connections")

    def _tls(self) -> Iterator[Finding]:
        mqtt = self._mqtt
        if not mqtt.tls:
            if mqtt.username is not None and not mqtt.host.startswith(_LOOPBACK):
                message = "the password crosses the network unencrypted"
                yield warn("broker tls", message, "set mqtt.tls = true, and mqtt.port to its port")
            else:
                yield ok("broker tls", "not used")
            return
        context = tls_context(
            ca_file=mqtt.ca_file, cert_file=mqtt.cert_file, key_file=mqtt.key_file
        )
        with self._connection() as plain:
            try:
                with context.wrap_socket(plain, server_hostname=mqtt.host) as secured:
                    certificate, version = secured.getpeercert() or {}, secured.version()
            except OSError as error:
                raise connect_fault(error, self._url) from error
        ends = str(certificate.get("notAfter", ""))
        message = f"{version}; the certificate is trusted until {ends}"
        if ends and ssl.cert_time_to_seconds(ends) - time.time() < EXPIRES_SOON_S:
            yield warn("broker tls", message, "renew the broker's certificate")
        else:
            yield ok("broker tls", message)

    def _connection(self) -> socket.socket:
        try:
            return socket.create_connection(
                (self._mqtt.host, self._mqtt.port), timeout=NETWORK_TIMEOUT_S
            )
        except OSError as error:
            raise connect_fault(error, self._url) from error

    def _inside(self) -> Iterator[Finding]:
        """Log in as a client of our own, and try what the daemon must be able to."""
        named = self._mqtt.client_id or default_client_id(self.settings.node_id)
        self_pipe = SelfPipe()
        connector = Connector(
            self._mqtt,
            # The daemon's own id would throw it out.
            client_id=f"{named}-doctor",
            will=availability(self._topics, online=self.is_running),
            self_pipe=self_pipe,
            timeouts=_TIMEOUTS,
        )
        try:
            connection = connector.connect(lambda: False)
        except BrokerError as error:
            self_pipe.close()
            yield failed("broker login", error)
            yield from _not_tried(*_INSIDE[1:])
            return
        try:
            who = f" as {self._mqtt.username}" if self._mqtt.username else " without a user name"
            yield ok("broker login", f"accepted{who}, by MQTT {connection.protocol.value}")
            yield from _findings("broker access", lambda: self._access(connection))
            yield from _findings("node id", lambda: self._twins(connection))
            yield from self._home_assistant(self.settings.homeassistant)
            with suppress(BrokerError):
                connection.close(timeout_s=1.0)
        finally:
            connection.abort()
            self_pipe.close()

    def _access(self, connection: Connection) -> Iterator[Finding]:
        """Subscribe to our topics and publish on them; what comes back was allowed both ways."""
        topics, homeassistant = self._topics, self.settings.homeassistant
        own = f"{topics.root}/doctor"
        announced = config_topic(homeassistant.prefix, topics.node)
        connection.subscribe(
            (own, *topics.command_filters, topics.path(Leaf.AVAILABILITY), announced)
            + ((homeassistant.status_topic,) if homeassistant.discovery else ())
        )
        refusals = list(
            self._round_trip(connection, MqttMessage(own, os.urandom(8).hex().encode()))
        )
        # Beside a running daemon these would overwrite its own word.
        if not self.is_running:
            said = self._retained.get(topics.path(Leaf.AVAILABILITY), b"offline")
            refusals += self._say_again(connection, topics.path(Leaf.AVAILABILITY), said)
            if announced in self._retained:
                refusals += self._say_again(connection, announced, self._retained[announced])
        refusals += [
            f"subscribing to {one.topic_filter} was refused: {one.reason}"
            for one in connection.refused_filters
        ]
        if refusals:
            rules = f"`topic readwrite {topics.root}/#`"
            if homeassistant.discovery:
                rules += f", `topic write {announced}`, `topic read {homeassistant.status_topic}`"
            who = self._mqtt.username or "this client"
            remedy = f"allow {who} in the broker's rules (mosquitto's acl_file): {rules}"
            yield fail("broker access", "; ".join(refusals), remedy)
        else:
            yield ok("broker access", f"reading and writing below {topics.root} is allowed")

    def _twins(self, connection: Connection) -> Iterator[Finding]:
        """Ask under our node id how it is; every daemon that has it answers."""
        node, ours = self._topics.node, 1 if self.is_running else 0
        transaction = os.urandom(8).hex()
        response = self._topics.response("health")
        connection.subscribe((response,))
        question = encode_json({"transaction": transaction})
        connection.publish(
            MqttMessage(self._topics.command("health"), question, expiry_s=ANSWER_S), expiry_s=None
        )
        answers, give_up_s = 0, time.monotonic() + TWIN_WAIT_S
        while time.monotonic() < give_up_s:
            connection.step(_STEP_S)
            while connection.received:
                got = connection.received.popleft()
                answers += got.topic == response and transaction.encode() in got.payload
        if answers > ours:
            who = "another daemon" if ours else "a daemon elsewhere"
            yield fail(
                "node id",
                f"{who} answers to node_id {node!r} on this broker (mqtt.node_id_taken)",
                "give every daemon its own node_id; a copied machine has the same host name",
            )
        else:
            yield ok("node id", f"nobody else answers to {node!r}")

    def _say_again(self, connection: Connection, topic: str, payload: bytes) -> Iterator[str]:
        """Publish what is retained on a topic, or would be if the daemon had said it."""
        return self._round_trip(connection, MqttMessage(topic, payload, retain=True))

    def _round_trip(self, connection: Connection, message: MqttMessage) -> Iterator[str]:
        """Publish and wait until it has come back; give what the broker did not allow."""
        mid = connection.publish(message, expiry_s=None)
        acknowledged = returned = False
        give_up_s = time.monotonic() + ANSWER_S
        while time.monotonic() < give_up_s and not (acknowledged and returned):
            connection.step(_STEP_S)
            while connection.receipts:
                receipt = connection.receipts.popleft()
                acknowledged |= receipt.mid == mid
                if receipt.mid == mid and receipt.refusal is not None:
                    yield f"publishing on {message.topic} was refused: {receipt.refusal}"
                    return
            while connection.received:
                got = connection.received.popleft()
                if got.retain:
                    self._retained[got.topic] = got.payload
                returned |= (got.topic, got.payload) == (message.topic, message.payload)
        if not acknowledged:
            yield f"the broker did not confirm a message on {message.topic}"
        elif not returned:
            yield f"a message published on {message.topic} was not delivered back"

    def _home_assistant(self, settings: HomeAssistantSettings) -> Iterator[Finding]:
        if not settings.discovery:
            yield skip("home assistant", "homeassistant.discovery is off")
            return
        if settings.satellite:
            yield ok(
                "commands",
                "the satellite carries them out while Home Assistant uses it: automations must "
                "leave finals with `handled_by` alone, as the blueprint does",
            )
        said = self._retained.get(settings.status_topic)
        announced = config_topic(settings.prefix, self._topics.node) in self._retained
        device = "the device is announced" if announced else "the device is not announced yet"
        if said == b"offline":
            yield warn("home assistant", f"it says that it is stopped; {device}", "start it")
        elif said is not None or self.born_at is not None:
            seen = "it says that it runs" if said is not None else f"it started at {self.born_at}"
            yield ok("home assistant", f"{seen}; {device}")
        else:
            yield warn(
                "home assistant",
                f"it has not been seen on this broker; {device}",
                "its MQTT integration must use this broker; its start shows at the next restart",
            )


def _findings(name: str, step: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Take a step; an error is its finding."""
    try:
        return list(step())
    except BrokerError as error:
        return [failed(name, error)]


def _not_tried(*names: str) -> Iterator[Finding]:
    return (skip(name, "not tried: a step before it failed") for name in names)
