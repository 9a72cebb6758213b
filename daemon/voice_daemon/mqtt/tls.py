"""Credentials and TLS: proves us to the broker, and the broker to us.

Reads files anew at each call, so that a renewed certificate or a corrected password counts at the
next attempt. No message here holds a secret.
"""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from voice_daemon._lib.files import decode_text, open_to_others, open_to_read
from voice_daemon.config.load import PASSWORD_VARIABLE
from voice_daemon.errors import BrokerError
from voice_daemon.mqtt.errors import ssl_reason

MAX_PASSWORD_BYTES: Final = 65_535
"""MQTT's limit."""


def find_password(file: Path | None, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """Give the variable's password, else that of `file`; None where there is neither.

    Raises `BrokerError` for a file that cannot be used.
    """
    said = environ.get(PASSWORD_VARIABLE)
    if said:
        return _bare(os.fsencode(said))
    return None if file is None else read_password(file)


def read_password(path: Path) -> bytes:
    """Read a password file, less its line end and a byte order mark.

    Raises `BrokerError` when it cannot be read, is empty, or is open to others.
    """
    try:
        with open_to_read(path) as file:
            _refuse_if_open_to_others("mqtt.password_file", path, file)
            secret = _bare(file.read(MAX_PASSWORD_BYTES + 6))
    except OSError as error:
        raise _unreadable("mqtt.password_file", path, error) from error
    if not secret or len(secret) > MAX_PASSWORD_BYTES or b"\n" in secret:
        raise BrokerError(
            "mqtt.password_file",
            f"mqtt.password_file {path} does not hold one line with a password",
            remedy="write the password alone into it",
        )
    return secret


def _bare(secret: bytes) -> bytes:
    """Leave out what an editor or a shell adds; a password may be any bytes."""
    with suppress(UnicodeDecodeError):
        secret = decode_text(secret).encode()
    return secret.rstrip(b"\r\n")


def tls_context(
    *, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    """Build a context that verifies chain and host name, TLS 1.2 or newer.

    `ca_file` replaces the system's authorities. Raises `BrokerError` naming the file at fault.
    """
    if ca_file is None:
        context = ssl.create_default_context()
    else:
        # Not the default context: Python 3.13 refuses in it what home-made authorities leave out.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            open_to_read(ca_file).close()
            context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:
            raise _unreadable("mqtt.ca_file", ca_file, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _SelfClosingSocket
    if cert_file is not None:
        _load_client_certificate(context, cert_file, key_file)
    return context


class _SelfClosingSocket(ssl.SSLSocket):
    """Closes at a failed handshake; paho drops the socket open, for the collector to find."""

    def do_handshake(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().do_handshake(*args, **kwargs)
        except BaseException:
            self.close()
            raise


def _load_client_certificate(
    context: ssl.SSLContext, cert_file: Path, key_file: Path | None
) -> None:
    try:
        open_to_read(cert_file).close()
    except OSError as error:
        raise _unreadable("mqtt.cert_file", cert_file, error) from error
    if key_file is not None:
        try:
            with open_to_read(key_file) as file:
                _refuse_if_open_to_others("mqtt.key_file", key_file, file)
        except OSError as error:
            raise _unreadable("mqtt.key_file", key_file, error) from error
    try:
        # An empty password, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        raise BrokerError(
            "mqtt.cert_file",
            f"mqtt.cert_file {cert_file} and mqtt.key_file {key_file or cert_file} "
            f"cannot be used: {_reason(error)}",
            remedy="give a PEM certificate and its own key, without a passphrase",
        ) from error


def _refuse_if_open_to_others(name: str, path: Path, file: BinaryIO) -> None:
    mode = open_to_others(os.fstat(file.fileno()))
    if mode is not None:
        raise BrokerError(
            name,
            f"{name} {path} may be read by others (mode {mode})",
            remedy=f"run: chmod 600 '{path}'",
        )


def _unreadable(name: str, path: Path, error: OSError | ValueError) -> BrokerError:
    if isinstance(error, ssl.SSLError):
        remedy = "give a file of certificates in PEM form"
    else:
        remedy = f"check {name} in the configuration, and that this user may read the file"
    return BrokerError(name, f"{name} {path} cannot be used: {_reason(error)}", remedy=remedy)


def _reason(error: OSError | ValueError) -> str:
    """Say what OpenSSL or the system found, without Python's decoration."""
    if isinstance(error, ssl.SSLError):
        return ssl_reason(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
