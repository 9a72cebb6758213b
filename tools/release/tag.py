"""A release's tag: it names the version that the package has and that the changelog tells of.

Takes texts, but for where the two files are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
CHANGELOG: Final = _ROOT / "CHANGELOG.md"
_VERSION: Final = _ROOT / "daemon" / "voice_daemon" / "__init__.py"
# Read, not imported: the tools of a release are installed without the package's dependencies.
_SAID: Final = dict(re.findall(r'^(\w+) = "(.*)"$', _VERSION.read_text(), re.MULTILINE))
__version__: Final = _SAID["__version__"]
PROJECT_URL: Final = _SAID["PROJECT_URL"]


def faults_of_tag(tag: str, version: str, changelog: str) -> list[str]:
    """List what speaks against releasing `version` under this tag."""
    faults = []
    if tag != f"v{version}":
        faults.append(f"the tag is {tag}, and the package's version is {version}: v{version}")
    heading = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE
    )
    if heading is None:
        faults.append(f"CHANGELOG.md has no `## [{version}] - YYYY-MM-DD`")
    unreleased = re.search(
        r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if unreleased and unreleased[1].strip():
        faults.append("CHANGELOG.md still has changes under [Unreleased]")
    return faults


def faults_of_address(address: str, own: str) -> list[str]:
    """List what speaks against an address, where `own` is that of the repository released from."""
    if address in ("", own):
        return []
    return [f"PROJECT_URL is {address}, and this is {own}: people would import from there"]
