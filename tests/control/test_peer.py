"""Who is at the other end of a connection, and that nobody else is answered."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from support.control_servers import PATIENCE_S, serving
from voice_daemon.control.client import ControlClient
from voice_daemon.control.socket import peer_uid, uid_of_xucred

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
