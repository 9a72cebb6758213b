from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voice_daemon.control import protocol
from voice_daemon.control.client import ControlClient
from voice_daemon.control.lock import lock_path
from voice_daemon.control.peer import peer_uid, uid_of_xucred
from voice_daemon.control.server import MAX_CLIENTS, ControlServer
from voice_daemon.errors import AlreadyRunningError, ControlError, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_S = 20.0
"""How long a test waits for what must happen before it fails."""


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # pytest's own tmp_path is too long for a Unix socket on macOS.
    with tempfile.TemporaryDirectory(prefix="vd-", dir="/tmp") as folder:
        yield Path(folder) / "state" / "voice-daemon.sock"


def echo(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"heard": dict(arguments)}


def refuse(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ControlError("control.muted", "the microphone is muted", remedy="`daemonctl unmute`")


def crash(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise RuntimeError("a bug")


def big(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"text": "x" * 60_000}


def nan(_arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"level": float("nan")}


HANDLERS = {"status": echo, "listen": refuse, "crash": crash, "big": big, "nan": nan}


@contextmanager
def serving(path: Path, *, client_timeout_s: float = PATIENCE_S) -> Iterator[ControlServer]:
    server = ControlServer(path, HANDLERS, client_timeout_s=client_timeout_s)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return connection


def read_line(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        document: dict[str, Any] = json.loads(lines.readline())
        return document


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
    with serving(socket_path, client_timeout_s=0.2), connect(socket_path) as silent:
        silent.sendall(sent)
        watcher = socket.socket(socket.AF_UNIX)
        with watcher:
            watcher.settimeout(PATIENCE_S)
            watcher.connect(str(socket_path))
            # The watcher came later and is dropped at its own deadline, so `silent` went before.
            assert watcher.recv(1) == b""
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


def test_socket_and_folder_are_private_whatever_the_umask(socket_path: Path) -> None:
    before = os.umask(0)
    try:
        with serving(socket_path):
            assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
            assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_folder_that_others_can_read_is_closed(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o755)
    with serving(socket_path):
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700


def test_a_shared_folder_is_refused_and_left_as_it_is(socket_path: Path) -> None:
    socket_path.parent.mkdir()
    socket_path.parent.chmod(0o1777)
    with pytest.raises(ControlError) as raised:
        ControlServer(socket_path, HANDLERS).start()
    assert raised.value.code == "control.shared_folder"
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o777 | stat.S_ISVTX


def test_a_second_server_on_the_same_socket_names_the_holder(socket_path: Path) -> None:
    with serving(socket_path):
        with pytest.raises(AlreadyRunningError) as raised:
            ControlServer(socket_path, HANDLERS).start()
        assert raised.value.pid == os.getpid()
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_stop_removes_the_socket_and_frees_the_name(socket_path: Path) -> None:
    with serving(socket_path), connect(socket_path) as left_open:
        pass
    assert not socket_path.exists()
    assert left_open.fileno() == -1
    with serving(socket_path):
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_stop_ends_connections_that_are_open(socket_path: Path) -> None:
    with serving(socket_path) as server, connect(socket_path) as connection:
        connection.sendall(b'{"verb": "status"}\n')
        assert read_line(connection)["ok"] is True
        server.stop()
        assert connection.recv(1) == b""


def test_something_else_in_the_sockets_place_is_not_removed(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700)
    socket_path.write_text("not yours")
    with pytest.raises(ControlError, match="cannot be made"):
        ControlServer(socket_path, HANDLERS).start()
    assert socket_path.read_text() == "not yours"
    socket_path.unlink()
    with serving(socket_path):
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_no_socket_means_not_running_and_names_the_command(socket_path: Path) -> None:
    with pytest.raises(NotRunningError) as raised:
        ControlClient(socket_path).request("status")
    assert raised.value.exit_code == 3
    assert "daemonctl run" in raised.value.remedy
    assert "no control socket" in raised.value.message


SERVE_UNTIL_KILLED = """
import pathlib, sys
from voice_daemon.control.server import ControlServer
ControlServer(pathlib.Path(sys.argv[1]), {"status": lambda _: {}}).start()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_daemon_leaves_a_stale_socket_that_the_next_one_replaces(
    socket_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE_UNTIL_KILLED, str(socket_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
        assert ControlClient(socket_path).request("status") == {}
        daemon.kill()
    assert socket_path.is_socket()
    with pytest.raises(NotRunningError, match="stale socket"):
        ControlClient(socket_path).request("status")
    with serving(socket_path):
        assert ControlClient(socket_path).request("status") == {"heard": {}}


def test_a_daemon_that_hangs_is_told_from_one_that_does_not_run(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(socket_path))
        hung.listen()
        with pytest.raises(ControlError, match="did not answer") as raised:
            ControlClient(socket_path, timeout_s=0.1).request("status")
    assert not isinstance(raised.value, NotRunningError)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses where Linux says EAGAIN")
def test_a_queue_full_of_waiting_clients_is_waited_for(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        listener.bind(str(socket_path))
        listener.listen(1)
        for _ in range(4):
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)  # noqa: FBT003 - its only form
            one.connect_ex(str(socket_path))
        with pytest.raises(ControlError) as raised:
            ControlClient(socket_path, timeout_s=0.1).request("status")
    assert raised.value.code == "control.no_answer"


def test_a_daemon_that_leaves_half_way_is_a_clear_error(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()

        def leave() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b'{"schema": 1, "ok"')

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(ControlError, match="closed the connection"):
            ControlClient(socket_path, timeout_s=PATIENCE_S).request("status")
        thread.join()


def test_a_lock_without_a_socket_is_a_daemon_that_starts(socket_path: Path) -> None:
    with serving(socket_path):
        socket_path.unlink()
        with pytest.raises(ControlError, match=f"pid {os.getpid()}\\) is starting"):
            ControlClient(socket_path).request("status")
        assert lock_path(socket_path).exists()


CONNECT_AS_ANOTHER_USER = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
print(connection.makefile().readline())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_refused_even_when_the_file_modes_let_them_in(socket_path: Path) -> None:
    with serving(socket_path):
        socket_path.parent.parent.chmod(0o755)
        socket_path.parent.chmod(0o755)
        socket_path.chmod(0o666)
        reply = subprocess.run(
            ["/usr/bin/env", "python3", "-c", CONNECT_AS_ANOTHER_USER, str(socket_path)],
            user=65534,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        assert ControlClient(socket_path).request("status") == {"heard": {}}
    assert json.loads(reply.stdout)["error"]["code"] == "control.wrong_user"


def test_the_peer_of_our_own_connection_is_us() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


def test_the_uid_is_found_in_macos_xucred() -> None:
    no_groups = bytes(64)
    xucred = bytes([0, 0, 0, 0, 0xF5, 0x01, 0, 0, 1, 0, 0, 0]) + no_groups
    assert uid_of_xucred(xucred) == 501
    with pytest.raises(OSError, match="version 1"):
        uid_of_xucred(b"\x01" + xucred[1:])
    with pytest.raises(OSError, match="12 bytes"):
        uid_of_xucred(xucred[:12])
