"""Connection failures, explained in words that say what to do about them."""

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
from voice_daemon.mqtt.topics import BrokerLimits

UNSUPPORTED_PROTOCOL: Final = 132
CLIENT_ID_INVALID: Final = 133
NOT_AUTHORISED: Final = frozenset({134, 135, 138})
"""Bad user name or password, not authorised, banned (3.1.1's 4 and 5 come as 134 and 135)."""
NOBODY_LISTENS: Final = 16
"""No failure: the broker has the message, and no subscriber to give it to."""
FORBIDDEN: Final = 135
ABOUT_ONE_MESSAGE: Final = frozenset({144, 149, 153})
"""Topic name invalid, packet too large, payload format invalid."""
SESSION_TAKEN_OVER: Final = 142
PACKET_TOO_LARGE: Final = 149
RETAIN_NOT_SUPPORTED: Final = 154
QOS_NOT_SUPPORTED: Final = 155


class Cause(StrEnum):
    """Kinds of fault; the kind decides when to try again."""

    NETWORK = "network"
    """May pass: back off and try again."""
    PROTOCOL = "protocol"
    """The broker may not speak this MQTT version: try the other one at once."""
    SILENCE = "silence"
    """It took the connection and said nothing: it is slow, or lost in a version it cannot read."""
    SETTINGS = "settings"
    """Only a person can cure it: try again rarely."""
    RETAIN = "retain"
    """The broker keeps no messages: connect with a will that is not retained."""
    QOS = "qos"
    """The broker knows no QoS 1: connect with a will of QoS 0."""
    OVERDUE = "overdue"
    """We ended it to keep a promise: connect again at once."""


_CREDENTIALS: Final = (
    "the broker refused the user name or the password: {reason}",
    "check mqtt.username and mqtt.password_file",
)
_OTHER: Final = ("the broker refused the connection: {reason}", "see the broker's log")
_WILL: Final = "the broker refused the daemon's will: {reason}"
_REFUSALS: Final = {
    UNSUPPORTED_PROTOCOL: (
        "the broker does not speak this MQTT version",
        "use a broker with MQTT 5 or 3.1.1",
    ),
    CLIENT_ID_INVALID: ("the broker refused the client id", "set another mqtt.client_id"),
    **dict.fromkeys(NOT_AUTHORISED, _CREDENTIALS),
    136: ("the broker is not available", "it may be starting; see its log"),
    137: ("the broker is busy", "see the broker's load; the daemon tries again"),
    140: ("the broker wants another way to log in", "allow a user name and password there"),
    144: (
        "the broker does not take the topic of the daemon's will",
        "set another mqtt.base_topic, or allow it there",
    ),
    149: (
        "the daemon's first packet is larger than the broker takes",
        "raise the broker's limit on packets (mosquitto: max_packet_size)",
    ),
    151: (
        "the daemon is over a quota of the broker",
        "raise the quota there; the daemon tries again",
    ),
    156: ("the broker says: use another server", "set mqtt.host to that server"),
    157: ("the broker has moved", "set mqtt.host to where it is now"),
    159: ("the broker takes no more connections so fast", "the daemon tries again"),
    RETAIN_NOT_SUPPORTED: (_WILL, "change retain_available in the broker's configuration"),
    QOS_NOT_SUPPORTED: (_WILL, "change max_qos in the broker's configuration"),
}
"""Reason codes of a CONNACK, in our words and with a remedy."""
_KINDS: Final = {
    UNSUPPORTED_PROTOCOL: ("mqtt.protocol", Cause.PROTOCOL),
    CLIENT_ID_INVALID: ("mqtt.client_id", Cause.SETTINGS),
    **dict.fromkeys(NOT_AUTHORISED, ("mqtt.not_authorised", Cause.SETTINGS)),
    RETAIN_NOT_SUPPORTED: ("mqtt.refused", Cause.RETAIN),
    QOS_NOT_SUPPORTED: ("mqtt.refused", Cause.QOS),
}
"""Those that are more than a reason to try again later: our code, and what to do about it."""


class LinkError(BrokerError):
    """A connection that could not be made or kept."""

    def __init__(
        self, code: str, message: str, *, remedy: str, cause: Cause = Cause.NETWORK
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.cause = cause


def connect_fault(error: OSError | UnicodeError, url: str) -> LinkError:
    """Explain an exception raised while connecting or shaking hands."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkError(
            "mqtt.tls_untrusted",
            f"{url}: the broker's certificate is not trusted: {error.verify_message}",
            remedy="set mqtt.ca_file to the signing CA, and mqtt.host to a name in the certificate",
            cause=Cause.SETTINGS,
        )
    if isinstance(error, ssl.SSLError):
        return _tls_fault(url, ssl_reason(error))
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
    if isinstance(error, ConnectionResetError) and url.startswith("mqtts:"):
        return _tls_fault(url, "the broker closed the connection")
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return _unreachable(url)
    return LinkError(
        "mqtt.connect_failed",
        f"{url}: {error.strerror or error}",
        remedy="check mqtt.host, mqtt.port and the network",
    )


def _tls_fault(url: str, reason: str) -> LinkError:
    remedy = "check that mqtt.port is the broker's TLS port (often 8883), or set mqtt.tls = false"
    if "alert" in reason.lower():  # said by the broker, mostly of what it misses in us
        remedy = "if the broker asks for a certificate, set mqtt.cert_file and mqtt.key_file"
    return LinkError("mqtt.tls_failed", f"{url}: TLS failed: {reason}", remedy=remedy)


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
    why, remedy = _REFUSALS.get(reason.value, _OTHER)
    code, cause = _KINDS.get(reason.value, ("mqtt.refused", Cause.NETWORK))
    message = f"{url}: {why.format(reason=reason)}"
    return LinkError(code, message, remedy=remedy, cause=cause)


def disconnect_fault(
    url: str, *, welcomed: bool, from_broker: ReasonCode | None, detail: str
) -> LinkError:
    """Explain a connection that ended; `from_broker` is the reason if the broker gave one."""
    if not welcomed and "[SSL: " in detail:
        said = re.sub(r"^.*\[SSL: [^]]*\] | \(_ssl\.c:\d+\)$", "", detail)
        return _tls_fault(url, said)
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
            f"{url}: another client connected with the same client id",
            remedy="give every daemon its own node_id; the client id follows it, "
            "unless mqtt.client_id is set",
            cause=Cause.SETTINGS,
        )
    if from_broker is not None and from_broker.value == PACKET_TOO_LARGE:
        return LinkError(
            "mqtt.connection_lost",
            f"{url}: connection lost: the broker takes no packet as large as one that was sent",
            remedy="raise the broker's limit on packets (mosquitto: max_packet_size)",
        )
    why = f"the broker ended the connection: {from_broker}" if from_broker is not None else detail
    return LinkError(
        "mqtt.connection_lost",
        f"{url}: connection lost" + (f": {why}" if why else ""),
        remedy="if it keeps happening, see the broker's log: a limit there may end it, or another "
        "client that uses the same client id",
    )


def unacknowledged_fault(url: str, waited_s: float) -> LinkError:
    """Explain that we gave a connection up because a message was not acknowledged."""
    return LinkError(
        "mqtt.no_acknowledgement",
        f"{url}: the broker did not confirm a message for {waited_s:.0f} s; the connection is dead",
        remedy="check the network and the broker's load",
    )


def overdue_fault(url: str) -> LinkError:
    """Explain that we ended a connection so that a final in it cannot arrive late."""
    return LinkError(
        "mqtt.no_acknowledgement",
        f"{url}: the broker did not confirm a transcript within mqtt.final_ttl_s; the "
        "connection was ended so that it cannot arrive late",
        remedy="check the network and the broker's load",
        cause=Cause.OVERDUE,
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
        remedy="please report it with the traceback in the log",
    )


def access_fault(user: str, doing: str, reason: str) -> BrokerError:
    """Explain that the broker's access rules forbid something."""
    return BrokerError(
        "mqtt.forbidden",
        f"the broker does not allow {user!r} {doing}: {reason}",
        remedy="give this user access to the daemon's topics in the broker's rules",
    )


def message_fault(topic: str, reason: str) -> BrokerError:
    """Explain that the broker turned one message down, for a reason that is not its rules."""
    return BrokerError(
        "mqtt.message_refused",
        f"the broker refused the message on {topic}: {reason}",
        remedy="see the broker's log; the message is left out",
    )


def busy_fault(topic: str, reason: str) -> BrokerError:
    """Explain that the broker turned a message down, for a reason that may pass."""
    return BrokerError(
        "mqtt.message_refused",
        f"the broker did not take the message on {topic}: {reason}",
        remedy="see the broker's quotas and load; the message is sent again while it is of use",
    )


def limits_faults(limits: BrokerLimits) -> list[BrokerError]:
    """Explain what a broker does not know that the daemon would use."""
    missing = []
    if limits.maximum_qos == 0:
        lost = "a transcript may be lost without notice"
        missing.append(("confirms no message (maximum QoS 0)", lost, "max_qos"))
    if not limits.retain_available:
        unseen = (
            "who comes later does not see state, settings or Home Assistant's device until they "
            "are said again"
        )
        missing.append(("keeps no messages (retain is not available)", unseen, "retain_available"))
    return [
        BrokerError(
            "mqtt.limited_broker",
            f"the broker {what}: {consequence}",
            remedy=f"change {setting} in the broker's configuration",
        )
        for what, consequence, setting in missing
    ]
