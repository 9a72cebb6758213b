"""What the client says when the daemon is away, starts, hangs or leaves."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.control_servers import PATIENCE_S, serving
from voice_daemon.control.client import ControlClient
from voice_daemon.control.socket import lock_path
from voice_daemon.errors import ControlError, NotRunningError


def test_no_socket_means_not_running_and_names_the_command(socket_path: Path) -> None:
    with pytest.raises(NotRunningError) as raised:
        ControlClient(socket_path).request("status")
    assert raised.value.exit_code == 3
    assert "daemonctl run" in raised.value.remedy
    assert "no control socket" in raised.value.message


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
