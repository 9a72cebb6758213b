"""The doctor's way to the broker: real mosquittos, with TLS, logins and rules, and none at all."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from rigs.brokers import HOST, Mosquitto, Observer, eventually, free_port, password_program
from support.mqtt_clients import TOPICS, Daemon, settings_for
from voice_daemon.config import MqttSettings, Settings
from voice_daemon.doctor.broker import BrokerCheck
from voice_daemon.doctor.checks import Finding, Verdict
from voice_daemon.mqtt.commands import Command, response_message

MakeBroker = Callable[..., Mosquitto]

NODE = "den"
CONFIG = f"homeassistant/device/{NODE}/config"
AVAILABILITY = f"voice/{NODE}/availability"

QUESTION = f"voice/{NODE}/cmd/health"


def look(
    port: int,
    *,
    is_running: bool = False,
    born_at: str | None = None,
    **mqtt: Any,
) -> dict[str, Finding]:
    settings = Settings(
        node_id=NODE, mqtt=MqttSettings(host=mqtt.pop("host", HOST), port=port, **mqtt)
    )
    return {
        f.check: f for f in BrokerCheck(settings, is_running=is_running, born_at=born_at).look()
    }


def verdicts(found: dict[str, Finding]) -> list[str]:
    return [finding.verdict.value for finding in found.values()]


def test_an_open_broker_passes_every_step(make_broker: MakeBroker) -> None:
    found = look(make_broker().start().port, born_at="2026-11-22T10:00:00Z")
    assert list(found) == [
        "broker name",
        "broker port",
        "broker tls",
        "broker login",
        "broker access",
        "node id",
        "home assistant",
    ]
    assert set(verdicts(found)) == {"ok"}


def test_it_changes_nothing_that_is_retained(make_broker: MakeBroker) -> None:
    broker = make_broker().start()
    observer = Observer(broker.port)
    for topic, payload in ((CONFIG, '{"device": 1}'), (AVAILABILITY, "online")):
        observer.publish(topic, payload, retain=True)
        observer.wait(topic)
    found = look(broker.port)
    late = Observer(broker.port)
    assert late.wait(CONFIG).payload == b'{"device": 1}'
    assert late.wait(AVAILABILITY).payload == b"online"
    assert found["broker access"].verdict is Verdict.OK
    assert "the device is announced" in found["home assistant"].message
    topics = {message.topic for message in observer.seen}
    assert topics == {CONFIG, AVAILABILITY, f"voice/{NODE}/doctor", QUESTION}
    late.close()
    observer.close()


def test_beside_a_running_daemon_it_speaks_on_its_own_topic_and_asks_how_it_is(
    make_broker: MakeBroker,
) -> None:
    broker = make_broker().start()
    observer = Observer(broker.port)
    found = look(broker.port, is_running=True)
    observer.publish("end", "")
    observer.wait("end")
    assert {message.topic for message in observer.seen} == {
        f"voice/{NODE}/doctor",
        QUESTION,
        "end",
    }
    assert found["broker access"].verdict is Verdict.OK
    observer.close()


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [("online", Verdict.OK), ("offline", Verdict.WARN), (None, Verdict.WARN)],
)
def test_home_assistant_is_seen_by_what_it_says(
    make_broker: MakeBroker, payload: str | None, verdict: Verdict
) -> None:
    broker = make_broker().start()
    if payload is not None:
        observer = Observer(broker.port)
        observer.publish("homeassistant/status", payload, retain=True)
        observer.close()
    finding = look(broker.port)["home assistant"]
    assert finding.verdict is verdict
    assert bool(finding.remedy) is (verdict is Verdict.WARN)


def test_nothing_behind_a_failed_step_is_tried() -> None:
    found = look(free_port())
    assert verdicts(found) == ["ok", "fail", "skip", "skip", "skip", "skip", "skip"]
    assert "nothing listens there" in found["broker port"].message
    assert found["broker port"].remedy


def test_a_name_that_is_none_is_told() -> None:
    found = look(1883, host="no-such-host.invalid")
    assert verdicts(found) == ["fail", "skip", "skip", "skip", "skip", "skip", "skip"]
    assert "the host is not known" in found["broker name"].message


def test_macos_refusing_the_local_network_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer, which only a Mac gives, is all that stands in here."""

    def refused(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr("voice_daemon.doctor.broker.socket.create_connection", refused)
    monkeypatch.setattr("voice_daemon.mqtt.errors.sys.platform", "darwin")
    assert "Local Network" in look(1883)["broker port"].remedy


def identity(authority: trustme.CA, folder: Path, **options: Any) -> tuple[str, ...]:
    issued = authority.issue_cert("localhost", **options)
    cert_file, key_file, ca_file = folder / "c.pem", folder / "k.pem", folder / "ca.pem"
    cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key_file.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(ca_file)
    return (
        "allow_anonymous true",
        f"cafile {ca_file}",
        f"certfile {cert_file}",
        f"keyfile {key_file}",
    )


def test_tls_is_shaken_hands_for(make_broker: MakeBroker, tmp_path: Path) -> None:
    port = make_broker(*identity(trustme.CA(), tmp_path)).start().port
    found = look(port, host="localhost", tls=True, ca_file=tmp_path / "ca.pem")
    assert found["broker tls"].message.startswith("TLSv1.")
    assert found["broker access"].verdict is Verdict.OK


def test_a_certificate_that_ends_soon_is_a_warning(make_broker: MakeBroker, tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(days=3)
    port = make_broker(*identity(trustme.CA(), tmp_path, not_after=soon)).start().port
    found = look(port, host="localhost", tls=True, ca_file=tmp_path / "ca.pem")
    assert found["broker tls"].verdict is Verdict.WARN
    assert found["broker login"].verdict is Verdict.OK


def test_a_certificate_of_an_unknown_authority_fails(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    port = make_broker(*identity(trustme.CA(), tmp_path)).start().port
    found = look(port, host="localhost", tls=True)
    assert verdicts(found) == ["ok", "ok", "fail", "skip", "skip", "skip", "skip"]
    assert "mqtt.ca_file" in found["broker tls"].remedy


@pytest.fixture
def guarded(make_broker: MakeBroker, tmp_path: Path) -> Callable[[str], Mosquitto]:
    """A broker that lets `voice` in with a password, and follows `rules`."""

    def make(rules: str) -> Mosquitto:
        passwords, acl = tmp_path / "passwords", tmp_path / "acl"
        subprocess.run(
            [password_program(), "-c", "-b", str(passwords), "voice", "correct horse"], check=True
        )
        acl.write_text(f"user voice\n{rules}\n")
        settings = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}")
        return make_broker(*settings).start()

    return make


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


FULL_RULES = (
    f"topic readwrite voice/{NODE}/#\ntopic write {CONFIG}\ntopic read homeassistant/status"
)


def test_the_rules_that_the_remedy_names_suffice(
    guarded: Callable[[str], Mosquitto], secret: Path
) -> None:
    found = look(guarded(FULL_RULES).port, username="voice", password_file=secret)
    assert found["broker login"].message == "accepted as voice, by MQTT 5"
    assert found["broker access"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (f"topic read voice/{NODE}/#", "was refused"),
        (f"topic write voice/{NODE}/#", "not delivered back"),
        (f"topic deny {AVAILABILITY}\n{FULL_RULES}", f"publishing on {AVAILABILITY} was refused"),
        ("topic readwrite voice/other/#", f"publishing on voice/{NODE}/doctor was refused"),
    ],
)
def test_rules_that_forbid_our_topics_are_told(
    guarded: Callable[[str], Mosquitto],
    secret: Path,
    monkeypatch: pytest.MonkeyPatch,
    rules: str,
    why: str,
) -> None:
    monkeypatch.setattr("voice_daemon.doctor.broker.ANSWER_S", 0.5)
    found = look(guarded(rules).port, username="voice", password_file=secret)
    assert found["broker access"].verdict is Verdict.FAIL
    assert why in found["broker access"].message
    assert f"topic readwrite voice/{NODE}/#" in found["broker access"].remedy


def test_a_wrong_password_is_told_without_showing_it(
    guarded: Callable[[str], Mosquitto], secret: Path
) -> None:
    secret.write_text("wrong horse\n")
    found = look(guarded(FULL_RULES).port, username="voice", password_file=secret)
    assert verdicts(found)[3:] == ["fail", "skip", "skip", "skip"]
    assert "mqtt.password_file" in found["broker login"].remedy
    assert "horse" not in str(found)


@pytest.mark.parametrize(
    ("n_daemons", "is_running", "verdict"),
    [(0, False, "ok"), (1, True, "ok"), (1, False, "fail"), (2, True, "fail")],
)
def test_another_daemon_under_our_node_id_is_found(
    make_broker: MakeBroker, n_daemons: int, verdict: str, *, is_running: bool
) -> None:
    broker = make_broker().start()
    daemons: list[Daemon] = []

    def answer(number: int, command: Command) -> None:
        daemons[number].client.publish(response_message(command, topics=TOPICS))

    for number in range(n_daemons):
        daemons.append(
            Daemon(
                settings_for(broker.port),
                client_id=f"daemon-{number}",
                on_command=partial(answer, number),
            )
        )
        last = daemons[-1]
        eventually(lambda: last.is_connected and not last.client.status().queued, "it is there")  # noqa: B023 - within the turn
    try:
        found = look(broker.port, is_running=is_running)["node id"]
        assert found.verdict.value == verdict
        assert verdict == "ok" or "node_id" in found.message
    finally:
        for daemon in daemons:
            daemon.client.stop(1)
