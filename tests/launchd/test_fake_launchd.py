"""The fake launchd keeps launchd's rules: what the other tests here rest on."""

from __future__ import annotations

import plistlib
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rigs.brokers import eventually
from rigs.fake_launchd.harness import UID, FakeLaunchd
from support.processes import is_gone

LABEL = "test.job"
DOMAIN = f"gui/{UID}"
TARGET = f"{DOMAIN}/{LABEL}"
THROTTLE_SCALE = 0.02


@pytest.fixture
def launchd(tmp_path: Path) -> Iterator[FakeLaunchd]:
    with FakeLaunchd(tmp_path, tmp_path, throttle_scale=THROTTLE_SCALE) as running:
        yield running


def agent(folder: Path, code: str = "import time; time.sleep(60)", **keys: Any) -> Path:
    path = folder / f"{LABEL}.plist"
    arguments = [sys.executable, "-c", code]
    path.write_bytes(plistlib.dumps({"Label": LABEL, "ProgramArguments": arguments, **keys}))
    path.chmod(0o644)
    return path


def test_run_at_load_starts_it_and_without_it_kickstart_does(launchd: FakeLaunchd) -> None:
    launchd.launchctl("bootstrap", DOMAIN, agent(launchd.folder))
    assert "state = not running" in launchd.launchctl("print", TARGET).stdout
    assert launchd.launchctl("kickstart", TARGET).returncode == 0
    launchd.await_events("spawned", 1)
    printed = launchd.launchctl("print", TARGET).stdout
    assert f"pid = {launchd.journal('spawned')[0]['pid']}" in printed
    assert "last exit code = (never exited)" in printed
    assert launchd.launchctl("kickstart", TARGET).returncode == 37
    assert launchd.launchctl("kickstart", "-k", TARGET).returncode == 0
    assert launchd.journal("ended")[0]["signal"] == 9


@pytest.mark.parametrize(
    ("keep_alive", "code", "starts_again"),
    [
        ({"SuccessfulExit": False}, "raise SystemExit(75)", True),
        ({"SuccessfulExit": False}, "import os; os.kill(os.getpid(), 9)", True),
        ({"SuccessfulExit": False}, "", False),
        ({"Crashed": True}, "import os; os.kill(os.getpid(), 11)", True),
        ({"Crashed": True}, "raise SystemExit(75)", False),
        ({"SuccessfulExit": False, "Crashed": False}, "", True),  # conditions are ORed
        (True, "", True),
        (False, "raise SystemExit(1)", False),
    ],
)
def test_keep_alive_starts_it_again(
    launchd: FakeLaunchd, keep_alive: object, code: str, *, starts_again: bool
) -> None:
    path = agent(launchd.folder, code, KeepAlive=keep_alive, RunAtLoad=True, ThrottleInterval=10)
    launchd.launchctl("bootstrap", DOMAIN, path)
    if starts_again:
        spawned = launchd.await_events("spawned", 3)
        gaps = [later["at_s"] - earlier["at_s"] for earlier, later in pairwise(spawned)]
        assert min(gaps) >= 10 * THROTTLE_SCALE
    else:
        launchd.await_events("ended", 1)
        eventually(
            lambda: "state = not running" in launchd.launchctl("print", TARGET).stdout, "it rests"
        )
        assert len(launchd.journal("spawned")) == 1


def test_a_program_that_ignores_sigterm_is_killed_after_exit_time_out(launchd: FakeLaunchd) -> None:
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path('deaf').touch(); time.sleep(60)"
    )
    path = agent(
        launchd.folder, code, RunAtLoad=True, ExitTimeOut=1, WorkingDirectory=str(launchd.folder)
    )
    launchd.launchctl("bootstrap", DOMAIN, path)
    eventually((launchd.folder / "deaf").exists, "it ignores SIGTERM")
    assert launchd.launchctl("bootout", TARGET).returncode == 0
    assert launchd.launchctl("print", TARGET).returncode == 0, "the label stays until it has ended"
    assert launchd.launchctl("bootstrap", DOMAIN, path).returncode == 5
    launchd.await_events("removed", 1)
    assert [note["signal"] for note in launchd.journal("signalled")] == ["SIGTERM", "SIGKILL"]
    assert launchd.launchctl("print", TARGET).returncode == 113
    assert launchd.launchctl("bootout", TARGET).returncode == 3


def test_the_program_gets_what_its_agent_says(launchd: FakeLaunchd) -> None:
    folder = launchd.folder / "wörk here"
    folder.mkdir()
    code = (
        "import os, sys; print(os.getcwd(), os.umask(0), os.environ['A'], os.environ['B'],"
        " os.environ['XPC_SERVICE_NAME'], os.environ['PATH']); sys.exit('to stderr')"
    )
    path = agent(
        launchd.folder,
        code,
        RunAtLoad=True,
        WorkingDirectory=str(folder),
        Umask="077",
        EnvironmentVariables={"A": "1"},
        StandardOutPath=str(folder / "out"),
        StandardErrorPath=str(folder / "err"),
    )
    launchd.launchctl("setenv", "B", "2")
    launchd.launchctl("bootstrap", DOMAIN, path)
    launchd.await_events("ended", 1)
    said = (folder / "out").read_text()
    assert said == f"{folder} 63 1 2 {LABEL} /usr/bin:/bin:/usr/sbin:/sbin\n"
    assert (folder / "err").read_text() == "to stderr\n"


def test_a_program_that_cannot_be_started_has_exit_code_78(launchd: FakeLaunchd) -> None:
    path = agent(launchd.folder, RunAtLoad=True, StandardOutPath="/nowhere/out")
    launchd.launchctl("bootstrap", DOMAIN, path)
    launchd.await_events("not_spawned", 1)
    assert "last exit code = 78: EX_CONFIG" in launchd.launchctl("print", TARGET).stdout


def test_what_a_program_leaves_behind_is_killed_with_it(launchd: FakeLaunchd) -> None:
    code = (
        "import pathlib, subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "pathlib.Path('child').write_text(str(child.pid))"
    )
    path = agent(launchd.folder, code, RunAtLoad=True, WorkingDirectory=str(launchd.folder))
    launchd.launchctl("bootstrap", DOMAIN, path)
    launchd.await_events("ended", 1)
    child = int((launchd.folder / "child").read_text())
    eventually(lambda: is_gone(child), "the child is killed")


@pytest.mark.parametrize(
    ("keys", "mode", "refused"),
    [
        ({}, 0o664, 122),
        ({}, 0o646, 122),
        ({"RunAtLoad": "yes"}, 0o644, 5),
        ({"KeepAlive": {"SuccessfulExit": "no"}}, 0o644, 5),
        ({"ThrottleInterval": "10"}, 0o644, 5),
        ({"RunAtLaod": True}, 0o644, 5),
        ({"ProgramArguments": ["python"]}, 0o644, 5),
        ({"EnvironmentVariables": {"A": 1}}, 0o644, 5),
        ({"ProcessType": "Fast"}, 0o644, 5),
        ({"LimitLoadToSessionType": "Background"}, 0o644, 134),
    ],
)
def test_a_wrong_agent_is_refused(
    launchd: FakeLaunchd, keys: dict[str, Any], mode: int, refused: int
) -> None:
    path = agent(launchd.folder, **keys)
    path.chmod(mode)
    done = launchd.launchctl("bootstrap", DOMAIN, path)
    assert done.returncode == refused
    assert done.stderr.startswith(f"Bootstrap failed: {refused}: ")


def test_text_that_is_no_property_list_is_refused(launchd: FakeLaunchd) -> None:
    path = launchd.folder / "x.plist"
    path.write_text("<plist><dict>")
    assert launchd.launchctl("bootstrap", DOMAIN, path).returncode == 5


def test_a_disabled_agent_is_loaded_only_after_enable(launchd: FakeLaunchd) -> None:
    path = agent(launchd.folder)
    launchd.launchctl("disable", TARGET)
    assert launchd.launchctl("bootstrap", DOMAIN, path).returncode == 119
    launchd.launchctl("enable", TARGET)
    assert launchd.launchctl("bootstrap", DOMAIN, path).returncode == 0
    assert launchd.launchctl("bootstrap", DOMAIN, path).returncode == 5, "loaded already"


def test_without_a_login_session_there_is_no_domain(tmp_path: Path) -> None:
    with FakeLaunchd(tmp_path, tmp_path, session=False) as launchd:
        for command in (("bootstrap", DOMAIN, agent(tmp_path)), ("print", TARGET)):
            assert launchd.launchctl(*command).returncode == 125


def test_what_is_not_loaded_is_not_found(launchd: FakeLaunchd) -> None:
    assert launchd.launchctl("kickstart", TARGET).returncode == 113
    assert launchd.launchctl("bootout", TARGET).returncode == 3
    assert launchd.launchctl("load", TARGET).returncode == 64
