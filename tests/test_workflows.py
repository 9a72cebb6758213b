"""The job files for other people's machines name what this project has, and ask for no more."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]


WORKFLOWS = {path.stem: path for path in (PROJECT / ".github" / "workflows").glob("*.yml")}


def jobs_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text())["jobs"]
    return found


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return jobs_of("ci")


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


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_script_that_a_job_runs_is_there_and_may_be_run(name: str) -> None:
    told = [line.split()[0] for job in jobs_of(name).values() for line in commands(job)]
    scripts = [PROJECT / line for line in told if line.startswith("scripts/")]
    assert scripts
    assert [path for path in scripts if not path.stat().st_mode & 0o100] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_may_read_and_those_that_may_more_say_so(name: str) -> None:
    assert yaml.safe_load(WORKFLOWS[name].read_text())["permissions"] == {"contents": "read"}
    more = {
        job: told["permissions"] for job, told in jobs_of(name).items() if "permissions" in told
    }
    assert set(more) == ({"publish"} if name == "release" else set())


def test_a_release_is_of_its_tag_audited_and_signed_before_it_is_there() -> None:
    build, publish = (jobs_of("release")[job] for job in ("build", "publish"))
    made = commands(build)
    own = '"$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"'
    assert made.index(f'python -m tools.release tag "$GITHUB_REF_NAME" {own}') == 0
    assert made.index("scripts/audit") < made.index("scripts/make-release")
    assert not any("may-skip" in line for line in made)
    uses = [step.get("uses", "") for step in publish["steps"]]
    (attests,) = (at for at, used in enumerate(uses) if used.startswith("actions/attest-"))
    (signs,) = (
        at for at, step in enumerate(publish["steps"]) if "sign-blob" in step.get("run", "")
    )
    assert publish["steps"][attests]["with"] == {"subject-checksums": "dist/SHA256SUMS"}
    assert max(attests, signs) < len(uses) - 1
    assert "--draft --verify-tag" in publish["steps"][-1]["run"]


def test_fuzzing_is_short_on_every_push_and_long_by_the_clock() -> None:
    assert "scripts/fuzz --minutes 1" in commands(jobs_of("ci")["check"])
    # YAML 1.1 takes `on` for a truth.
    assert yaml.safe_load(WORKFLOWS["fuzz"].read_text())[True]["schedule"]


def test_every_daemonctl_command_in_it_exists(jobs: dict[str, Any]) -> None:
    from voice_daemon.cli.parser import COMMANDS  # noqa: PLC0415 - beside its only use

    lines = [line.split() for job in jobs.values() for line in commands(job)]
    used = {words[1] for words in lines if words[0].endswith("/daemonctl")}
    assert used
    assert used <= set(COMMANDS)
