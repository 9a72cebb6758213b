"""The server's socket: private from the start, never taken from another, and left by nobody."""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.brokers import eventually
from support.control_servers import HANDLERS, connect, read_line, serving
from voice_daemon.control.client import ControlClient
from voice_daemon.control.server import ControlServer
from voice_daemon.errors import AlreadyRunningError, ControlError, NotRunningError


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


def test_a_socket_that_was_tidied_away_comes_back(socket_path: Path) -> None:
    server = ControlServer(socket_path, HANDLERS, look_s=0.01)
    server.start()
    with connect(socket_path) as before:
        socket_path.unlink()
        eventually(socket_path.exists, "the socket is there again")
        assert ControlClient(socket_path).request("status") == {"heard": {}}
        before.sendall(b'{"verb": "status"}\n')
        assert read_line(before)["ok"] is True
    socket_path.unlink()
    socket_path.mkdir()
    server.stop()
    assert socket_path.is_dir()


def test_something_else_in_the_sockets_place_is_not_removed(socket_path: Path) -> None:
    socket_path.parent.mkdir(mode=0o700)
    socket_path.write_text("not yours")
    with pytest.raises(ControlError, match="cannot be made"):
        ControlServer(socket_path, HANDLERS).start()
    assert socket_path.read_text() == "not yours"
    socket_path.unlink()
    with serving(socket_path):
        assert ControlClient(socket_path).request("status") == {"heard": {}}


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


def test_whoever_connects_while_it_stops_is_let_go(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    for _ in range(50):
        server = ControlServer(socket_path, {})
        server.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(socket_path))
            server.stop()
    gc.collect()
    assert lost == [], "sockets that were left open"
