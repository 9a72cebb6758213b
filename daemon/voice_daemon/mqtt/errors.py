"""Why a connection to the broker failed, in words that say what to do about it.

Pure: from exceptions and MQTT reason codes to errors. Knows nothing of sockets or retries
beyond which kind of fault each one is.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from paho.mqtt.reasoncodes import ReasonCode

from voice_daemon.errors import BrokerError

UNSUPPORTED_PROTOCOL: Final = 132
CLIENT_ID_INVALID: Final = 133
NOT_AUTHORISED: Final = frozenset({134, 135, 138})
"""Bad user name or password, not authorised, banned (3.1.1's 4 and 5 come as 134 and 135)."""
SESSION_TAKEN_OVER: Final = 142


class Cause(StrEnum):
    """What kind of fault it is, which decides when to try again."""

    NETWORK = "network"
    """May pass: back off and try again."""
    PROTOCOL = "protocol"
    """The broker may not speak this MQTT version: try the other one at once."""
    SILENCE = "silence"
    """It took the connection and said nothing: it is slow, or lost in a version it cannot read."""
    SETTINGS = "settings"
    """Only a person can cure it: try again rarely."""


class LinkError(BrokerError):
    """A connection that could not be made or kept."""

    def __init__(
        self, code: str, message: str, *, remedy: str, cause: Cause = Cause.NETWORK
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.cause = cause


def connect_fault(  # noqa: PLR0911 - one return a kind of fault
    error: OSError | UnicodeError, url: str
) -> LinkError:
    """Explain an exception raised while connecting or shaking hands."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkError(
            "mqtt.tls_untrusted",
            f"{url}: the broker's certificate is not trusted: {error.verify_message}",
            remedy="set mqtt.ca_file to who signed it, and mqtt.host to a name that it holds",
            cause=Cause.SETTINGS,
        )
    if isinstance(error, ssl.SSLError):
        return LinkError(
            "mqtt.tls_failed",
            f"{url}: TLS failed: {ssl_reason(error)}",
            remedy="check that mqtt.port is the broker's TLS port (often 8883)",
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return _unknown_host(url)
    if isinstance(error, ConnectionRefusedError):
        return LinkError(
            "mqtt.connection_refused",
            f"{url}: nothing listens there",
            remedy="start the broker, or check mqtt.host and mqtt.port",
        )
    if isinstance(error, TimeoutError):
        return LinkError(
            "mqtt.timeout", f"{url}: no answer in time", remedy="check mqtt.host and the network"
        )
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return _unreachable(url)
    return LinkError(
        "mqtt.connect_failed",
        f"{url}: {error.strerror or error}",
        remedy="check mqtt.host, mqtt.port and the network",
    )


def ssl_reason(error: ssl.SSLError) -> str:
    """Say what OpenSSL found, without its library's name and Python's line number."""
    return re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$", "", str(error.strerror or error))


_LOCAL_NETWORK: Final = (
    "; in System Settings > Privacy & Security > Local Network allow VoiceDaemon (it is asked for "
    "the agent only: a terminal may always)"
)


def _unknown_host(url: str) -> LinkError:
    remedy = "check mqtt.host"
    if (urlsplit(url).hostname or "").endswith(".local"):
        remedy += ", or use the IP address: .local names are found only by Bonjour"
    if sys.platform == "darwin":
        # So macOS 15 answers for a Bonjour name to programs without this permission.
        remedy += _LOCAL_NETWORK
    return LinkError("mqtt.unknown_host", f"{url}: the host is not known", remedy=remedy)


def _unreachable(url: str) -> LinkError:
    remedy = "check mqtt.host and the network"
    if sys.platform == "darwin":
        # And so for an address.
        remedy += _LOCAL_NETWORK
    return LinkError("mqtt.unreachable", f"{url}: no route to the host", remedy=remedy)


def stopped_fault(url: str) -> LinkError:
    """Explain an attempt that was given up because the client stops."""
    return LinkError("mqtt.stopped", f"{url}: not connected when stopping", remedy="")


def no_answer_fault(url: str, timeout_s: float) -> LinkError:
    """Explain a broker that took the connection and then said nothing."""
    return LinkError(
        "mqtt.timeout",
        f"{url}: the broker did not answer within {timeout_s:g} s",
        remedy="check that it is an MQTT broker and that it is not overloaded",
        cause=Cause.SILENCE,
    )


def refusal_fault(reason: ReasonCode, url: str) -> LinkError:
    """Explain a broker's refusal of the connection."""
    code = reason.value
    if code == UNSUPPORTED_PROTOCOL:
        return LinkError(
            "mqtt.protocol",
            f"{url}: the broker does not speak this MQTT version",
            remedy="use a broker with MQTT 5 or 3.1.1",
            cause=Cause.PROTOCOL,
        )
    if code in NOT_AUTHORISED:
        return LinkError(
            "mqtt.not_authorised",
            f"{url}: the broker refused our credentials: {reason}",
            remedy="check mqtt.username and mqtt.password_file",
            cause=Cause.SETTINGS,
        )
    if code == CLIENT_ID_INVALID:
        return LinkError(
            "mqtt.client_id",
            f"{url}: the broker refused our client id",
            remedy="set another mqtt.client_id",
            cause=Cause.SETTINGS,
        )
    return LinkError(
        "mqtt.refused", f"{url}: the broker refused us: {reason}", remedy="see the broker's log"
    )


def disconnect_fault(
    url: str, *, welcomed: bool, from_broker: ReasonCode | None, detail: str
) -> LinkError:
    """Explain a connection that ended; `from_broker` is the reason if the broker gave one."""
    if not welcomed:
        # Some brokers meet a version that they do not speak in this way.
        return LinkError(
            "mqtt.closed",
            f"{url}: the connection was closed before an answer"
            + (f": {detail}" if detail else ""),
            remedy="check that it is an MQTT port; for a TLS port set mqtt.tls = true",
            cause=Cause.PROTOCOL,
        )
    if from_broker is not None and from_broker.value == SESSION_TAKEN_OVER:
        return LinkError(
            "mqtt.client_id_taken",
            f"{url}: another client connected with our client id",
            remedy="give every instance its own mqtt.client_id or node_id",
            cause=Cause.SETTINGS,
        )
    why = f"the broker ended the connection: {from_broker}" if from_broker is not None else detail
    return LinkError(
        "mqtt.connection_lost",
        f"{url}: connection lost" + (f": {why}" if why else ""),
        remedy="if it keeps happening, see the broker's log: another client may use our client id",
    )


def unacknowledged_fault(url: str, waited_s: float) -> LinkError:
    """Explain that we gave a connection up because a message was not acknowledged."""
    return LinkError(
        "mqtt.no_acknowledgement",
        f"{url}: a message was not acknowledged for {waited_s:.0f} s; the connection is dead",
        remedy="check the network and the broker's load",
    )


def internal_fault(error: Exception) -> BrokerError:
    """Name a fault of ours by its kind and the last place of ours on its way; never its words.

    The log has the rest. A fault that comes once in a thousand hours is found by its place.
    """
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "voice_daemon" in Path(frame.filename).parts
    ]
    return BrokerError(
        "mqtt.internal",
        "a fault in the MQTT client ended the connection: "
        f"{type(error).__name__} at {places[-1] if places else 'an unknown place'}",
        remedy="report it with the traceback in the log",
    )


def access_fault(user: str, doing: str, reason: str) -> BrokerError:
    """Explain that the broker's access rules forbid something."""
    return BrokerError(
        "mqtt.forbidden",
        f"the broker does not allow {user!r} {doing}: {reason}",
        remedy="give this user access to the daemon's topics in the broker's rules",
    )
