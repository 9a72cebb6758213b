"""The agent that is installed: every key is one that launchd knows, whatever the paths are."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import pytest

from rigs.fake_launchd import property_list
from voice_daemon.launchd.agent import LABEL, TEMPLATE, Agent, AgentPaths

HOMES = ["/Users/owner", "/Users/Zoë Müller", '/Users/a & <b> "c"', "/Users/日本"]
REPOSITORY_FILE = Path(__file__).parents[2] / "launchd" / f"{LABEL}.plist"


def agent(home: str, **variables: str) -> dict[str, Any]:
    places = AgentPaths(
        home=Path(home), log_folder=Path(home) / "Library" / "Logs" / "voice-daemon"
    )
    made = Agent(
        program=places.program,
        working_folder=places.home,
        out_log=places.out_log,
        err_log=places.err_log,
        variables=variables,
    )
    read: dict[str, Any] = plistlib.loads(made.property_list())
    return read


def test_the_template_in_the_package_is_the_one_in_launchd() -> None:
    assert TEMPLATE.read_bytes() == REPOSITORY_FILE.read_bytes()


@pytest.mark.parametrize("home", HOMES)
def test_every_key_is_launchds_with_its_type(home: str) -> None:
    assert property_list.findings(agent(home)) == []


@pytest.mark.parametrize("home", HOMES)
def test_no_path_of_the_template_is_left(home: str) -> None:
    assert "YOU" not in str(agent(home))
    assert agent(home)["WorkingDirectory"] == home


def test_it_starts_the_launcher_in_the_app_and_tells_it_nothing() -> None:
    launcher = "/Users/owner/Applications/VoiceDaemon.app/Contents/MacOS/voice-daemon"
    assert agent("/Users/owner")["ProgramArguments"] == [launcher]


def test_variables_are_added_to_those_of_the_template() -> None:
    variables = agent("/Users/owner", VOICE_DAEMON_HOME="/x")["EnvironmentVariables"]
    assert variables["VOICE_DAEMON_HOME"] == "/x"
    assert variables["HF_HUB_OFFLINE"] == "1"


def test_the_template_differs_in_paths_alone() -> None:
    template = plistlib.loads(TEMPLATE.read_bytes())
    ours = agent("/Users/YOU")
    assert ours == template
