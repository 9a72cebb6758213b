"""Each fault of a connection gets a name, a remedy and the right kind of patience."""

from __future__ import annotations

import errno
import socket
import ssl
import sys

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from rigs.macos.local_network import LocalNetwork
from voice_daemon.mqtt.errors import (
    Cause,
    LinkError,
    connect_fault,
    disconnect_fault,
    refusal_fault,
)

URL = "mqtt://den:1883"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(), "mqtt.connection_refused"),
        (TimeoutError(), "mqtt.timeout"),
        (socket.gaierror(), "mqtt.unknown_host"),
        (UnicodeError(), "mqtt.unknown_host"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "mqtt.unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "mqtt.unreachable"),
        (OSError(errno.EMFILE, "Too many open files"), "mqtt.connect_failed"),
        (ssl.SSLError(1, "odd"), "mqtt.tls_failed"),
        (ssl.SSLEOFError(8, "eof"), "mqtt.tls_failed"),
    ],
)
def test_a_failure_to_connect_is_named_and_tried_again(error: OSError, code: str) -> None:
    fault = connect_fault(error, URL)
    assert (fault.code, fault.cause) == (code, Cause.NETWORK)
    assert fault.message.startswith(f"{URL}: ")
    assert fault.remedy


@pytest.mark.parametrize(
    ("fault", "setting"),
    [
        (connect_fault(ConnectionResetError(104, "reset"), "mqtts://b:1883"), "mqtt.tls = false"),
        (connect_fault(ssl.SSLError(1, "sslv3 alert handshake failure"), URL), "mqtt.cert_file"),
        (
            disconnect_fault(
                "mqtts://b:8883",
                welcomed=False,
                from_broker=None,
                detail="no data: [SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate "
                "required (_ssl.c:2580)",
            ),
            "mqtt.cert_file",
        ),
    ],
)
def test_a_failure_of_tls_names_the_setting_that_may_cure_it(
    fault: LinkError, setting: str
) -> None:
    assert fault.code == "mqtt.tls_failed"
    assert setting in fault.remedy
    assert "_ssl.c" not in fault.message


@pytest.mark.parametrize(("platform", "permission"), [("darwin", "Local Network"), ("linux", "")])
def test_no_route_on_a_mac_names_the_local_network_permission(
    platform: str, permission: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    fault = connect_fault(OSError(errno.EHOSTUNREACH, "No route to host"), URL)
    assert permission in fault.remedy
    assert ("Settings" in fault.remedy) == bool(permission)


def fault_of(host: str, network: LocalNetwork) -> LinkError:
    """Look for a broker as the daemon does, and explain what came of it."""
    try:
        *_, address = network.getaddrinfo(host, 1883)[0]
        network.connect(address)
    except OSError as error:
        return connect_fault(error, f"mqtt://{host}:1883")
    raise AssertionError(host)


@pytest.mark.parametrize("host", ["homeassistant.local", "192.168.1.20"])
def test_a_mac_that_refuses_the_local_network_is_named_as_the_likely_reason(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    refused = LocalNetwork(allowed=False, names={"homeassistant.local": "192.168.1.20"})
    fault = fault_of(host, refused)
    assert "Privacy & Security > Local Network allow VoiceDaemon" in fault.remedy
    assert ("use the IP address" in fault.remedy) == host.endswith(".local")
    assert fault_of("127.0.0.1", refused).code == "mqtt.connection_refused", "not concerned"
    allowed = LocalNetwork(allowed=True, names=refused.names)
    assert fault_of(host, allowed).code == "mqtt.connection_refused"


def test_elsewhere_a_bonjour_name_that_is_not_found_is_no_matter_of_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    fault = connect_fault(socket.gaierror(), "mqtt://homeassistant.local:1883")
    assert "use the IP address" in fault.remedy
    assert "Settings" not in fault.remedy


@pytest.mark.parametrize(
    ("reason", "code", "cause"),
    [
        (132, "mqtt.protocol", Cause.PROTOCOL),
        (133, "mqtt.client_id", Cause.SETTINGS),
        (134, "mqtt.not_authorised", Cause.SETTINGS),
        (135, "mqtt.not_authorised", Cause.SETTINGS),
        (138, "mqtt.not_authorised", Cause.SETTINGS),
        (136, "mqtt.refused", Cause.NETWORK),
        (151, "mqtt.refused", Cause.NETWORK),
    ],
)
def test_a_refusal_says_whether_a_person_must_act(reason: int, code: str, cause: Cause) -> None:
    fault = refusal_fault(ReasonCode(PacketTypes.CONNACK, identifier=reason), URL)
    assert (fault.code, fault.cause) == (code, cause)


def test_a_brokers_own_reason_is_passed_on() -> None:
    reason = ReasonCode(PacketTypes.DISCONNECT, identifier=139)
    fault = disconnect_fault(URL, welcomed=True, from_broker=reason, detail="")
    assert fault.code == "mqtt.connection_lost"
    assert "Server shutting down" in fault.message
