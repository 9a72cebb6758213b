"""Requests over a real socket, from clients of every kind, several at once."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rigs.brokers import eventually
from support.control_servers import PATIENCE_S, connect, read_line, serving
from voice_daemon.control import protocol
from voice_daemon.control.client import ControlClient
from voice_daemon.control.server import MAX_CLIENTS
from voice_daemon.errors import ControlError


def test_a_request_is_answered_with_its_arguments(socket_path: Path) -> None:
    with serving(socket_path):
        client = ControlClient(socket_path)
        assert client.request("status", detail=2) == {"heard": {"detail": 2}}
        assert client.request("status") == {"heard": {}}


def test_a_handlers_refusal_reaches_the_client_with_its_remedy(socket_path: Path) -> None:
    with serving(socket_path), pytest.raises(ControlError) as raised:
        ControlClient(socket_path).request("listen")
    assert raised.value.code == "control.muted"
    assert raised.value.remedy == "`daemonctl unmute`"


def test_an_unknown_verb_is_told_the_known_ones(socket_path: Path) -> None:
    with serving(socket_path), pytest.raises(ControlError) as raised:
        ControlClient(socket_path).request("explode")
    assert raised.value.code == "control.unknown_verb"
    assert "big, crash, listen, nan, status" in raised.value.remedy


@pytest.mark.parametrize("verb", ["crash", "nan"])
def test_a_failing_handler_gives_an_error_and_the_server_lives(
    socket_path: Path, verb: str
) -> None:
    with serving(socket_path):
        with pytest.raises(ControlError, match="its log says why"):
            ControlClient(socket_path).request(verb)
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_many_requests_on_one_connection_are_answered_in_order(socket_path: Path) -> None:
    requests = [protocol.Request("status", {"number": number}) for number in range(50)]
    with serving(socket_path), connect(socket_path) as connection:
        connection.sendall(b"".join(map(protocol.encode_request, requests)))
        with connection.makefile("rb") as lines:
            heard = [json.loads(lines.readline())["result"]["heard"] for _ in requests]
    assert [item["number"] for item in heard] == list(range(50))


def test_a_last_line_without_newline_counts_as_a_request(socket_path: Path) -> None:
    with serving(socket_path), connect(socket_path) as connection:
        connection.sendall(b'{"verb": "status"}')
        connection.shutdown(socket.SHUT_WR)
        assert read_line(connection)["ok"] is True


@pytest.mark.parametrize("line", [b"nonsense\n", b"\n", b"[]\n", b"\xff\xff\n"])
def test_malformed_json_gets_an_error_and_the_connection_stays(
    socket_path: Path, line: bytes
) -> None:
    with serving(socket_path), connect(socket_path) as connection:
        connection.sendall(line)
        assert read_line(connection)["error"]["code"] == "control.malformed"
        connection.sendall(b'{"verb": "status"}\n')
        assert read_line(connection)["ok"] is True


def test_an_endless_line_is_refused_and_hung_up_on(socket_path: Path) -> None:
    with serving(socket_path), connect(socket_path) as connection:
        connection.sendall(b"x" * protocol.MAX_LINE_BYTES)
        with connection.makefile("rb") as lines:
            assert json.loads(lines.readline())["error"]["code"] == "control.line_too_long"
            assert lines.read() == b""


def test_a_client_stuck_in_the_middle_of_a_line_blocks_nobody(socket_path: Path) -> None:
    with serving(socket_path), connect(socket_path) as stuck:
        stuck.sendall(b'{"verb": "sta')
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_a_client_that_never_reads_blocks_nobody(socket_path: Path) -> None:
    ask_for_much = protocol.encode_request(protocol.Request("big", {})) * 100
    with serving(socket_path), connect(socket_path) as deaf:
        deaf.sendall(ask_for_much)
        assert ControlClient(socket_path).request("status") == {"heard": {}}
        with deaf.makefile("rb") as lines:
            replies = [json.loads(lines.readline())["ok"] for _ in range(100)]
    assert replies == [True] * 100


@pytest.mark.parametrize(
    "sent", [b"", b'{"verb": "sta', protocol.encode_request(protocol.Request("big", {})) * 100]
)
def test_a_silent_client_is_dropped_after_its_timeout(socket_path: Path, sent: bytes) -> None:
    with (
        capture_logs() as logs,
        serving(socket_path, client_timeout_s=0.2),
        connect(socket_path) as silent,
    ):
        silent.sendall(sent)
        dropped = {"event": "control.client_timed_out", "timeout_s": 0.2, "log_level": "info"}
        eventually(lambda: dropped in logs, "it is dropped")
        received = b""
        while part := silent.recv(1 << 20):
            received += part
    assert len(received) < 100 * 60_000


def test_clients_beyond_the_limit_are_turned_away_and_the_others_stay(socket_path: Path) -> None:
    with serving(socket_path):
        first = [connect(socket_path) for _ in range(MAX_CLIENTS)]
        for connection in first:
            connection.sendall(b'{"verb": "status"}\n')
            assert read_line(connection)["ok"] is True
        with pytest.raises(ControlError) as raised:
            ControlClient(socket_path).request("status")
        assert raised.value.code == "control.busy"
        first.pop().close()
        for connection in first:
            connection.sendall(b'{"verb": "status"}\n')
            assert read_line(connection)["ok"] is True
            connection.close()


def test_fifty_threads_are_all_answered(socket_path: Path) -> None:
    answers: list[object] = []

    def ask(number: int) -> None:
        while True:
            try:
                answers.append(ControlClient(socket_path).request("status", number=number))
            except ControlError as error:
                if error.code != "control.busy":
                    raise
            else:
                return

    with serving(socket_path):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert len(answers) == 50
