"""What pip-audit found, in one line for each thing that matters.

Reads its JSON; runs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum


class Outcome(IntEnum):
    """The outcome of an audit, as an exit code."""

    GOOD = 0
    VULNERABLE = 1
    UNASKED = 3
    """Nobody said anything about some of the packages."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The lines to print, and the outcome."""

    lines: tuple[str, ...]
    outcome: Outcome


def verdict(report: str) -> Verdict:
    """Judge a report; what it says nothing of is no finding, but is not good either."""
    if not report.strip():
        return Verdict(("audit: there is no report: no network?",), Outcome.UNASKED)
    packages = json.loads(report)["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        said = "audit: the index has no data on vulnerabilities: a mirror?"
        return Verdict((said,), Outcome.UNASKED)
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in known
        for flaw in package["vulns"]
    ]
    unknown = [
        f"{package['name']}: not looked up, {package['skip_reason']}"
        for package in packages
        if "skip_reason" in package
    ]
    said = (
        f"audit: {len(known)} of {len(packages)} packages looked up, {len(found)} vulnerabilities"
    )
    missing = Outcome.UNASKED if unknown else Outcome.GOOD
    return Verdict((*found, *unknown, said), Outcome.VULNERABLE if found else missing)
