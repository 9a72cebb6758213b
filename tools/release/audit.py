"""What pip-audit found, in one line for each thing that matters.

Reads its JSON; runs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """The lines to print, and whether something is wrong."""

    lines: tuple[str, ...]
    is_bad: bool


def verdict(report: str) -> Verdict:
    """Judge a report; one that says nothing of any package is no finding, but is said so."""
    if not report.strip():
        return _skipped("there is no report: no network?")
    packages = json.loads(report)["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return _skipped("the index has no data on vulnerabilities: a mirror?")
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in known
        for flaw in package["vulns"]
    ]
    said = (
        f"audit: {len(known)} of {len(packages)} packages looked up, {len(found)} vulnerabilities"
    )
    return Verdict((*found, said), is_bad=bool(found))


def _skipped(why: str) -> Verdict:
    return Verdict((f"audit: SKIPPED, {why}",), is_bad=False)
