"""A daemon that waits for a better configuration: what it answers, and what ends its waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.brokers import eventually
from support.daemon_process import DaemonProcess, run_daemonctl
from voice_daemon.control.client import ControlClient
from voice_daemon.control.socket import InstanceLock, lock_path
from voice_daemon.errors import AlreadyRunningError, ConfigError, ControlError, NotRunningError
from voice_daemon.runtime.safe_mode import files_fingerprint, wait_for_a_change
from voice_daemon.runtime.status import Status

ERROR = ConfigError("x.y", "threshold = 7: is more than 1", remedy="give at most 1")


def wait(folder: Path, fingerprint: Callable[[], object]) -> int:
    return wait_for_a_change(
        ERROR,
        before=0,
        fingerprint=fingerprint,
        socket_path=folder / "voice-daemon.sock",
        log_file=folder / "x.jsonl",
        look_every_s=0.02,
    )


def meanwhile(folder: Path, act: Callable[[ControlClient], None]) -> threading.Thread:
    """Do something as soon as the socket answers."""
    client = ControlClient(folder / "voice-daemon.sock")

    def run() -> None:
        eventually(lambda: _answers(client), "it answers")
        act(client)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def _answers(client: ControlClient) -> bool:
    try:
        client.request("status")
    except ControlError:
        return False
    return True


def test_it_answers_with_what_is_wrong_until_something_changes(short_folder: Path) -> None:
    said: list[Status] = []
    refused: list[str] = []
    changed = threading.Event()

    def act(client: ControlClient) -> None:
        said.append(Status.from_dict(client.request("status")))
        try:
            client.request("listen")
        except ControlError as error:
            refused.append(error.message)
        changed.set()

    thread = meanwhile(short_folder, act)
    assert wait(short_folder, lambda: int(changed.is_set())) == 78
    thread.join()
    assert said[0].session.state == "degraded"
    assert [p.message for p in said[0].problems] == [ERROR.message]
    assert refused == [ERROR.message]
    with pytest.raises(NotRunningError):
        ControlClient(short_folder / "voice-daemon.sock").request("status")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 78)]
)
def test_signals_end_it_as_they_end_a_daemon(
    short_folder: Path, number: signal.Signals, code: int
) -> None:
    before = signal.getsignal(number)
    thread = meanwhile(short_folder, lambda _client: os.kill(os.getpid(), number))
    assert wait(short_folder, lambda: 0) == code
    thread.join()
    assert signal.getsignal(number) == before


def test_what_was_mended_before_it_began_to_wait_is_not_missed(short_folder: Path) -> None:
    assert wait(short_folder, lambda: 1) == 78


def test_beside_another_daemon_it_leaves_at_once(short_folder: Path) -> None:
    held = InstanceLock(lock_path(short_folder / "voice-daemon.sock"))
    held.acquire()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(AlreadyRunningError):
        wait(short_folder, lambda: 0)
    held.release()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_file_that_is_made_changed_or_removed_is_noticed(tmp_path: Path) -> None:
    file, models = tmp_path / "config.toml", tmp_path / "models"
    prints = [files_fingerprint((file, models))]
    for change in (
        file.touch,
        lambda: file.write_text("x = 1\n"),
        lambda: file.chmod(0o600),
        models.mkdir,
        (models / "tiny").mkdir,
        file.unlink,
    ):
        change()
        prints.append(files_fingerprint((file, models)))
    assert len(set(prints)) == len(prints)
    assert files_fingerprint((file, models)) == prints[-1]


def test_without_supervision_a_mistake_ends_it_with_78(voice_home: Path) -> None:
    (voice_home / "config.toml").write_text("[wake]\nthreshold = 7\n")
    done = run_daemonctl("run", home=voice_home)
    assert done.returncode == 78


def test_a_supervised_daemon_ends_with_78_once_its_mistake_is_mended(short_folder: Path) -> None:
    """A file that the configuration names counts as well: here the broker's password."""
    password = short_folder / "password"
    (short_folder / "config.toml").write_text(
        f'[mqtt]\nusername = "x"\npassword_file = "{password}"\n'
    )
    with DaemonProcess(("--supervised",), short_folder, {}) as daemon:
        eventually(
            lambda: _answers(ControlClient(short_folder / "voice-daemon.sock")), "it answers"
        )
        password.write_text("secret\n")
        password.chmod(0o600)
        assert daemon.wait() == 78


@pytest.mark.parametrize(("n_bytes", "left"), [(1_000_001, 0), (1_000_000, 1_000_000)])
def test_a_file_of_crashes_that_grew_too_long_is_emptied(
    tmp_path: Path, n_bytes: int, left: int
) -> None:
    crashes = tmp_path / "launchd.err.log"
    crashes.write_bytes(b"x" * n_bytes)
    module = "voice_daemon.runtime.safe_mode"
    code = f"from {module} import empty_full_crash_files; empty_full_crash_files()"
    with crashes.open("ab") as file:
        subprocess.run([sys.executable, "-c", code], stderr=file, check=True)
    assert crashes.stat().st_size == left
