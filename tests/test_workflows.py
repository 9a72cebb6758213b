"""The job file for other people's machines names what this project supports."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    text = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    found: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_every_python_that_is_supported_is_tried_on_linux_and_three_macs(
    jobs: dict[str, Any],
) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"])
    assert bounds is not None
    first, end = map(int, bounds.groups())
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(first, end)]
    assert {"macos-14", "macos-15", "macos-26"} < set(matrix["system"])


def test_every_script_that_a_job_runs_is_there_and_may_be_run(jobs: dict[str, Any]) -> None:
    told = [line.split()[0] for job in jobs.values() for line in commands(job)]
    scripts = [PROJECT / name for name in told if name.startswith("scripts/")]
    assert scripts
    assert [path for path in scripts if not path.stat().st_mode & 0o100] == []


def test_every_daemonctl_command_in_it_exists(jobs: dict[str, Any]) -> None:
    from voice_daemon.cli.parser import COMMANDS  # noqa: PLC0415 - beside its only use

    lines = [line.split() for job in jobs.values() for line in commands(job)]
    used = {words[1] for words in lines if words[0].endswith("/daemonctl")}
    assert used
    assert used <= set(COMMANDS)
