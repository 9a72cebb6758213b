from __future__ import annotations

import json

from tools.release.audit import verdict

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
    assert found.is_bad
    assert found.lines == (
        "urllib3 1.0: CVE-1, mended in 1.1",
        "urllib3 1.0: CVE-2, mended in no version yet",
        "audit: 2 of 3 packages looked up, 2 vulnerabilities",
    )


def test_packages_without_a_flaw_are_good() -> None:
    assert not verdict(report(GOOD)).is_bad


def test_without_network_it_is_skipped_and_says_so() -> None:
    for nothing in ("", "\n", report(UNKNOWN)):
        found = verdict(nothing)
        assert not found.is_bad
        assert found.lines[0].startswith("audit: SKIPPED")
