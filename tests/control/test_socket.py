"""The control socket's file, the lock beside it, and the peers that are answered."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.control_servers import PATIENCE_S, serving
from voice_daemon.control.client import ControlClient
from voice_daemon.control.socket import (
    InstanceLock,
    holder_pid,
    listen,
    make_private_folder,
    peer_uid,
    uid_of_xucred,
)
from voice_daemon.errors import AlreadyRunningError, ControlError

SOMEBODY_ELSE = 12_345

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give a folder to another user"
)


@pytest.fixture
def folder(short_folder: Path) -> Path:
    return short_folder.resolve()


def refusal(folder: Path) -> ControlError:
    with pytest.raises(ControlError) as caught:
        make_private_folder(folder)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_in_one_that_everybody_may_write_is_refused(folder: Path, *, exists: bool) -> None:
    state = folder / "open" / "deep" / "state"
    (folder / "open").mkdir()
    if exists:
        state.mkdir(parents=True, mode=0o700)
    (folder / "open").chmod(0o777)
    error = refusal(state)
    assert error.code == "control.unsafe_parent"
    assert f"{folder / 'open'} may be written by everybody (mode 0777)" in error.message
    assert f"chmod o-w '{folder / 'open'}'" in error.remedy
    assert state.exists() is exists


def test_a_way_that_leads_over_a_link_is_looked_at_on_both_sides(folder: Path) -> None:
    (folder / "open").mkdir()
    (folder / "open" / "state").mkdir(mode=0o700)
    (folder / "state").symlink_to(folder / "open" / "state")
    (folder / "open" / "link").symlink_to(folder)
    (folder / "open").chmod(0o777)
    assert refusal(folder / "state").code == "control.unsafe_parent"
    assert refusal(folder / "open" / "link" / "elsewhere").code == "control.unsafe_parent"


def test_a_sticky_folder_above_is_good_enough(folder: Path) -> None:
    (folder / "shared").mkdir()
    (folder / "shared").chmod(0o1777)
    make_private_folder(folder / "shared" / "state")
    assert stat.S_IMODE((folder / "shared" / "state").stat().st_mode) == 0o700


@needs_root
def test_a_folder_of_somebody_else_is_refused_and_so_is_one_below_it(folder: Path) -> None:
    theirs = folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, SOMEBODY_ELSE, SOMEBODY_ELSE)
    assert refusal(theirs).code == "control.shared_folder"
    error = refusal(theirs / "state")
    assert error.code == "control.unsafe_parent"
    assert f"belongs to user {SOMEBODY_ELSE}" in error.message


@pytest.mark.parametrize("target", ["nowhere", "other.sock"])
def test_a_link_in_the_sockets_place_is_refused_and_left(folder: Path, target: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "other.sock"))
        link = folder / "daemon.sock"
        link.symlink_to(folder / target)
        with pytest.raises(ControlError, match="cannot be made: it is a link") as caught:
            listen(link)
        assert "remove what lies there" in caught.value.remedy
        assert link.is_symlink()
        assert (folder / "other.sock").is_socket()
        assert not (folder / "nowhere").exists()


HOLD_THE_LOCK = """
import pathlib, sys
from voice_daemon.control.socket import InstanceLock
lock = InstanceLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_told_the_holders_pid_and_exits_good(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with start_holder(path) as holder:
        with pytest.raises(AlreadyRunningError) as raised:
            InstanceLock(path).acquire()
        assert raised.value.pid == holder.pid
        assert str(holder.pid) in raised.value.message
        assert raised.value.exit_code == 0
        assert holder_pid(path) == holder.pid
        holder.kill()


def test_a_killed_holder_leaves_a_free_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with start_holder(path) as holder:
        holder.send_signal(signal.SIGKILL)
    assert holder_pid(path) is None
    lock = InstanceLock(path)
    lock.acquire()
    assert holder_pid(path) == os.getpid()
    lock.release()
    assert holder_pid(path) is None


def test_the_lock_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "lock")
    before = os.umask(0)
    try:
        lock.acquire()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    lock.release()


def test_nobody_holds_a_lock_file_that_does_not_exist(tmp_path: Path) -> None:
    assert holder_pid(tmp_path / "lock") is None


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "lock").symlink_to(target)
    with pytest.raises(ControlError, match="cannot be opened"):
        InstanceLock(tmp_path / "lock").acquire()
    assert target.read_text() == "precious"


def test_a_full_disk_hides_the_holder_but_not_the_lock(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "lock")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        lock.acquire()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert lock.held
    with pytest.raises(AlreadyRunningError):
        InstanceLock(tmp_path / "lock").acquire()
    lock.release()


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


@pytest.mark.parametrize("odd", ["pipe", "folder", "link"])
def test_anything_but_a_file_in_the_locks_place_is_refused_at_once(
    tmp_path: Path, odd: str
) -> None:
    path = tmp_path / "lock"
    match odd:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(ControlError, match="cannot be opened"):
        InstanceLock(path).acquire()
    with pytest.raises(ControlError, match="cannot be opened"):
        holder_pid(path)
