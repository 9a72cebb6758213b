from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from voice_daemon.control.socket import InstanceLock, holder_pid
from voice_daemon.errors import AlreadyRunningError, ControlError

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
