"""The LaunchAgent in launchd/ is one that launchd would load, and it starts this program."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

AGENT = Path(__file__).parents[2] / "launchd" / "io.github.voice-daemon.plist"

# Keys and types as the man page launchd.plist has them, section 5.
TYPES: dict[str, tuple[type, ...]] = {
    "Label": (str,),
    "ProgramArguments": (list,),
    "EnvironmentVariables": (dict,),
    "WorkingDirectory": (str,),
    "RunAtLoad": (bool,),
    "KeepAlive": (dict,),
    "ThrottleInterval": (int,),
    "ExitTimeOut": (int,),
    "ProcessType": (str,),
    "LimitLoadToSessionType": (str,),
    "Umask": (str, int),
    "AssociatedBundleIdentifiers": (list,),
    "StandardOutPath": (str,),
    "StandardErrorPath": (str,),
}


@pytest.fixture
def agent() -> dict[str, Any]:
    loaded: dict[str, Any] = plistlib.loads(AGENT.read_bytes())
    return loaded


def test_every_key_is_one_of_launchd_with_its_type(agent: dict[str, Any]) -> None:
    assert {key: type(value) in TYPES[key] for key, value in agent.items()} == dict.fromkeys(
        TYPES, True
    )


def test_the_label_is_the_file_name(agent: dict[str, Any]) -> None:
    assert agent["Label"] == AGENT.stem


def test_paths_are_absolute_because_launchd_expands_nothing(agent: dict[str, Any]) -> None:
    paths = [
        agent["ProgramArguments"][0],
        agent["WorkingDirectory"],
        agent["StandardOutPath"],
        agent["StandardErrorPath"],
    ]
    assert [path for path in paths if not path.startswith("/") or "$" in path] == []


def test_a_fault_restarts_it_and_a_wanted_stop_does_not(agent: dict[str, Any]) -> None:
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ThrottleInterval"] == 10


def test_launchd_waits_longer_than_the_daemon_takes_to_stop(agent: dict[str, Any]) -> None:
    from voice_daemon.app import STOP_DEADLINE_S  # noqa: PLC0415 - loads numpy

    assert agent["ExitTimeOut"] > STOP_DEADLINE_S


def test_it_is_not_throttled_and_lives_in_the_login_session(agent: dict[str, Any]) -> None:
    assert agent["ProcessType"] == "Interactive"
    assert agent["LimitLoadToSessionType"] == "Aqua"
    assert not {"Nice", "LowPriorityIO", "SessionCreate"} & set(agent)


@pytest.mark.skipif(shutil.which("plutil") is None, reason="plutil is part of macOS")
def test_plutil_accepts_it() -> None:
    assert subprocess.run(["plutil", "-lint", str(AGENT)], check=False).returncode == 0  # noqa: S607 - macOS' own
