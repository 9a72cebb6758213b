"""The committed manual page is what the parser says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.release.man_page import manual
from voice_daemon.cli.parser import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "daemonctl.1"


def test_the_committed_manual_page_is_the_one_that_the_code_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # as scripts/make-man-page has it
    assert PAGE.read_text(encoding="utf-8") == manual(), "run scripts/make-man-page"


def test_every_command_has_its_place_and_an_example() -> None:
    page = manual().replace("\\-", "-")
    for command in COMMANDS.values():
        assert f".SS \\fBdaemonctl {command.name}\\fR\n{command.help}" in page
        assert f"Example: {command.example}" in page


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_manual_page_is_good_roff() -> None:
    done = subprocess.run(
        [str(shutil.which("mandoc")), "-T", "lint", "-W", "error", str(PAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
