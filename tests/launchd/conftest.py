"""Macs for tests of the service."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.fake_launchd.harness import FakeLaunchd
from rigs.fake_launchd.mac import Mac

LAST_WORDS_S = 30.0


def _remove(folder: Path) -> None:
    """Remove a home; a daemon that has lost its launchd may still be writing its last lines."""
    give_up_s = time.monotonic() + LAST_WORDS_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < give_up_s)


@pytest.fixture
def new_mac() -> Iterator[Callable[..., Mac]]:
    """Make a Mac; the options are the fake launchd's."""
    folders: list[Path] = []
    sessions: list[FakeLaunchd] = []

    def make(*, throttle_scale: float = 1.0, session: bool = True) -> Mac:
        # A Unix socket's path must be short, and pytest's folders are not.
        folder = Path(tempfile.mkdtemp(prefix="mac-", dir="/tmp"))
        folders.append(folder)
        home = folder / "Zoë's Mac & mini"
        (home / "voice").mkdir(parents=True)
        launchd = FakeLaunchd(folder, home, throttle_scale=throttle_scale, session=session)
        sessions.append(launchd.__enter__())
        return Mac(launchd, home, {"VOICE_DAEMON_HOME": str(home / "voice")})

    yield make
    for launchd in sessions:
        launchd.__exit__()
    for folder in folders:
        _remove(folder)


@pytest.fixture
def mac(new_mac: Callable[..., Mac], mosquitto_port: int) -> Mac:
    """A Mac whose user is logged in, and whose daemon lacks its model.

    Such a daemon waits without loading anything: what is tested here is the service.
    """
    made = new_mac(throttle_scale=0.02)
    made.config_file.write_text(f'[asr]\nmodel = "small.en"\n[mqtt]\nport = {mosquitto_port}\n')
    return made


@pytest.fixture
def installed(mac: Mac) -> Mac:
    done = mac.daemonctl("install")
    assert (done.code, done.err) == (0, "")
    return mac
