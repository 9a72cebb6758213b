from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.release.audit import Outcome, verdict

ROOT = Path(__file__).parents[2]
GOOD = {"name": "six", "version": "1.17.0", "vulns": []}
BAD = {
    "name": "urllib3",
    "version": "1.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN = {"name": "odd", "skip_reason": "not found"}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages})


def test_a_vulnerability_is_named_with_its_remedy() -> None:
    found = verdict(report(GOOD, BAD, UNKNOWN))
    assert found.outcome is Outcome.VULNERABLE
    assert found.lines == (
        "urllib3 1.0: CVE-1, mended in 1.1",
        "urllib3 1.0: CVE-2, mended in no version yet",
        "odd: not looked up, not found",
        "audit: 2 of 3 packages looked up, 2 vulnerabilities",
    )


def test_packages_without_a_flaw_are_good() -> None:
    assert verdict(report(GOOD)).outcome is Outcome.GOOD


def test_what_nobody_answered_for_is_not_good() -> None:
    for nothing in ("", "\n", report(UNKNOWN), report(GOOD, UNKNOWN)):
        assert verdict(nothing).outcome is Outcome.UNASKED


@pytest.mark.parametrize(("arguments", "code"), [((), 1), (("--may-skip",), 0), (("--quick",), 1)])
def test_an_audit_without_tools_fails_unless_it_may_be_skipped(
    arguments: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    """Beside the scripts there is no Python that could install any."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "tools.txt").touch()
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "cksum", "uname"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [tmp_path / "scripts" / "audit", *arguments],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("SKIPPED" in done.stdout) is (arguments != ("--quick",))
