"""Password files and TLS: real certificates, a real broker, and every way to get them wrong."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from rigs.brokers import Mosquitto, eventually, password_program
from support.mqtt_clients import Daemon, StartDaemon
from voice_daemon.config.load import PASSWORD_VARIABLE
from voice_daemon.errors import BrokerError
from voice_daemon.mqtt.tls import (
    MAX_PASSWORD_BYTES,
    find_password,
    read_password,
    tls_context,
)


def test_a_password_is_the_file_without_its_line_end(secret_file: Path) -> None:
    assert read_password(secret_file) == b"correct horse"
    secret_file.write_bytes(b" sp\xc3\xa4ce \r\n")
    assert read_password(secret_file) == b" sp\xc3\xa4ce "
    secret_file.write_bytes(b"\xef\xbb\xbfcorrect horse\r\n")
    assert read_password(secret_file) == b"correct horse"


def test_the_variables_password_comes_before_the_files(secret_file: Path) -> None:
    assert find_password(secret_file, {}) == b"correct horse"
    assert find_password(secret_file, {PASSWORD_VARIABLE: "s\u00e4fer"}) == "s\u00e4fer".encode()
    assert find_password(secret_file, {PASSWORD_VARIABLE: "s3cret\r\n"}) == b"s3cret"
    assert find_password(secret_file, {PASSWORD_VARIABLE: ""}) == b"correct horse"
    assert find_password(None, {}) is None


def test_the_variables_password_opens_the_broker(
    make_broker: Callable[..., Mosquitto],
    tmp_path: Path,
    start_daemon: StartDaemon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run([password_program(), "-c", "-b", passwords, "voice", "s3cret"], check=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}").start()
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cret")
    daemon = start_daemon(broker.port, username="voice")
    eventually(lambda: daemon.is_connected, "connected")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_password_that_others_may_read_is_refused(mode: int, secret_file: Path) -> None:
    secret_file.chmod(mode)
    with pytest.raises(BrokerError) as caught:
        read_password(secret_file)
    assert caught.value.code == "mqtt.password_file"
    assert str(secret_file) in caught.value.message
    assert caught.value.remedy == f"run: chmod 600 '{secret_file}'"


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"x" * (MAX_PASSWORD_BYTES + 1)])
def test_a_file_that_holds_no_password_is_refused_without_showing_it(
    content: bytes, secret_file: Path
) -> None:
    secret_file.write_bytes(content)
    with pytest.raises(BrokerError, match="does not hold one line") as caught:
        read_password(secret_file)
    assert "one\ntwo" not in str(caught.value)


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"nowhere.*No such file"):
        read_password(tmp_path / "nowhere")
    with pytest.raises(BrokerError, match="directory"):
        read_password(tmp_path)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def write_identity(authority: trustme.CA, name: str, folder: Path) -> tuple[Path, Path]:
    """Issue a certificate for `name`; gives its file and its key's."""
    issued = authority.issue_cert(name)
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key_file.touch(mode=0o600)
    key_file.write_bytes(issued.private_key_pem.bytes())
    return cert_file, key_file


@pytest.fixture
def tls_broker(
    make_broker: Callable[..., Mosquitto],
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Mosquitto:
    cert_file, key_file = write_identity(authority, "localhost", tmp_path)
    return make_broker(
        "allow_anonymous true",
        f"cafile {ca_file}",
        f"certfile {cert_file}",
        f"keyfile {key_file}",
        *getattr(request, "param", ()),
    ).start()


def test_a_broker_that_proves_itself_is_trusted(
    tls_broker: Mosquitto, ca_file: Path, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(tls_broker.port, host="localhost", tls=True, ca_file=ca_file)
    eventually(lambda: daemon.is_connected, "connected")
    eventually(lambda: daemon.client.status().queued == 0, "announced")
    assert daemon.client.status().url == f"mqtts://localhost:{tls_broker.port}"
    assert daemon.client.stop(5)


def test_a_certificate_for_another_name_is_refused(
    tls_broker: Mosquitto, ca_file: Path, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(tls_broker.port, host="127.0.0.1", tls=True, ca_file=ca_file)
    assert_untrusted(daemon, "IP address mismatch")


def test_an_authority_that_we_do_not_know_is_refused(
    tls_broker: Mosquitto, tmp_path: Path, start_daemon: StartDaemon
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    daemon = start_daemon(tls_broker.port, host="localhost", tls=True, ca_file=other)
    assert_untrusted(daemon, "certificate")


def test_the_systems_authorities_do_not_vouch_for_a_home_made_one(
    tls_broker: Mosquitto, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(tls_broker.port, host="localhost", tls=True)
    assert_untrusted(daemon, "certificate")


def assert_untrusted(daemon: Daemon, why: str) -> None:
    eventually(lambda: daemon.error_code == "mqtt.tls_untrusted", "it is refused")
    error = daemon.client.status().last_error
    assert error is not None
    assert why in error.message
    assert not daemon.is_connected


@pytest.mark.parametrize("tls_broker", [("require_certificate true",)], indirect=True)
def test_a_broker_that_asks_who_we_are_gets_our_certificate(
    tls_broker: Mosquitto,
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
    start_daemon: StartDaemon,
) -> None:
    cert_file, key_file = write_identity(authority, "daemon.example", tmp_path)
    nobody = start_daemon(
        tls_broker.port, host="localhost", tls=True, ca_file=ca_file, client_id="nobody"
    )
    known = start_daemon(
        tls_broker.port,
        host="localhost",
        tls=True,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
    eventually(lambda: known.is_connected, "connected with a certificate")
    eventually(lambda: nobody.error_code == "mqtt.tls_failed", "refused without one")
    error = nobody.client.status().last_error
    assert error is not None
    assert "certificate required" in error.message


def test_tls_to_a_port_without_it_says_which_port(
    broker: Mosquitto, ca_file: Path, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(broker.port, host="localhost", tls=True, ca_file=ca_file)
    eventually(lambda: daemon.error_code in {"mqtt.tls_failed", "mqtt.connect_failed"}, "refused")


def test_no_tls_to_a_port_with_it_says_so(tls_broker: Mosquitto, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(tls_broker.port, host="localhost")
    eventually(lambda: daemon.error_code == "mqtt.closed", "refused")
    error = daemon.client.status().last_error
    assert error is not None
    assert "mqtt.tls = true" in error.remedy


def test_a_file_that_cannot_be_used_is_named_and_cured_without_a_restart(
    tls_broker: Mosquitto, authority: trustme.CA, tmp_path: Path, start_daemon: StartDaemon
) -> None:
    late = tmp_path / "late.pem"
    daemon = start_daemon(tls_broker.port, host="localhost", tls=True, ca_file=late)
    eventually(lambda: daemon.error_code == "mqtt.ca_file", "it is named")
    authority.cert_pem.write_to_path(late)
    eventually(lambda: daemon.is_connected, "the file is read again")


def test_each_file_at_fault_is_named(authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    cert_file, key_file = write_identity(authority, "daemon.example", tmp_path)
    _, other_key = write_identity(authority, "other.example", tmp_path)
    text = tmp_path / "text.pem"
    text.write_text("not a certificate")
    missing = tmp_path / "missing.pem"
    faults = {
        "mqtt.ca_file": ((text, None, None), (missing, None, None)),
        "mqtt.cert_file": (
            (ca_file, text, key_file),
            (ca_file, missing, key_file),
            (ca_file, cert_file, other_key),
            (ca_file, cert_file, None),
        ),
        "mqtt.key_file": ((ca_file, cert_file, missing),),
    }
    for code, cases in faults.items():
        for ca, cert, key in cases:
            with pytest.raises(BrokerError) as caught:
                tls_context(ca_file=ca, cert_file=cert, key_file=key)
            assert caught.value.code == code
            assert str(tmp_path) in caught.value.message
            assert "_ssl" not in caught.value.message


def test_a_key_that_others_may_read_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    cert_file, key_file = write_identity(authority, "daemon.example", tmp_path)
    key_file.chmod(0o644)
    with pytest.raises(BrokerError, match=r"mqtt\.key_file .* may be read by others"):
        tls_context(ca_file=None, cert_file=cert_file, key_file=key_file)


def test_old_tls_is_not_spoken() -> None:
    context = tls_context(ca_file=None, cert_file=None, key_file=None)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
