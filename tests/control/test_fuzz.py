"""Clients of the control socket that send anything, beside one that behaves: it is answered."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.control_servers import PATIENCE_S, echo, refuse
from voice_daemon.control.client import ControlClient
from voice_daemon.control.protocol import MAX_LINE_BYTES
from voice_daemon.control.server import ControlServer

REQUESTS_A_CONVERSATION = 20
VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just([[]])
)


@st.composite
def request(draw: st.DrawFn) -> bytes:
    """A request that may be right, wrong in its values, or no JSON at all."""
    document = {
        "verb": draw(st.sampled_from(["status", "listen", "explode"]) | VALUES),
        "arguments": draw(st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | VALUES),
    }
    line = json.dumps(document).encode()
    return draw(st.just(line) | st.binary(max_size=60) | st.just(line[: len(line) // 2]))


@st.composite
def conversation(draw: st.DrawFn) -> bytes:
    """What one client sends; now and then a line that never ends."""
    sent = b"\n".join(draw(st.lists(request(), max_size=REQUESTS_A_CONVERSATION)))
    endless = b"x" * (MAX_LINE_BYTES + 1) if draw(st.integers(0, 19)) == 0 else b""
    return sent + draw(st.sampled_from([b"\n", b""])) + endless


@pytest.fixture(scope="module")
def served() -> Iterator[Path]:
    # pytest's own tmp_path is too long for a Unix socket on macOS.
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        path = Path(folder) / "state" / "voice-daemon.sock"
        server = ControlServer(
            path, {"status": echo, "listen": refuse}, client_timeout_s=PATIENCE_S
        )
        server.start()
        yield path
        server.stop()


def send(path: Path, sent: bytes, *, reads: bool) -> None:
    """Say it all; read every answer, each of which is JSON, or leave without."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
            if reads:
                connection.shutdown(socket.SHUT_WR)
                answers = b"".join(iter(lambda: connection.recv(65_536), b""))
                for line in answers.splitlines():
                    assert json.loads(line)["ok"] in {True, False}


def hurt(path: Path, sent: list[bytes], *, reads: bool) -> None:
    """Send all of it at once, and be served meanwhile and afterwards."""
    clients = [
        threading.Thread(target=send, args=(path, one), kwargs={"reads": reads}) for one in sent
    ]
    for client in clients:
        client.start()
    assert ControlClient(path).request("status", detail=2) == {"heard": {"detail": 2}}
    for client in clients:
        client.join()
    assert ControlClient(path).request("status") == {"heard": {}}


ANYTHING = {"suppress_health_check": list(HealthCheck)}


@settings(max_examples=40, **ANYTHING)  # type: ignore[arg-type] # one of its keywords
@given(sent=st.lists(conversation(), min_size=1, max_size=3), reads=st.booleans())
def test_a_client_is_answered_beside_any_other(
    served: Path,
    sent: list[bytes],
    reads: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    hurt(served, sent, reads=reads)


@pytest.mark.slow
@settings(max_examples=1000, **ANYTHING)  # type: ignore[arg-type] # as above
@given(sent=st.lists(conversation(), min_size=1, max_size=3), reads=st.booleans())
def test_thousands_of_malformed_requests_do_no_harm(
    served: Path,
    sent: list[bytes],
    reads: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    hurt(served, sent, reads=reads)
