"""`python -m release targets | pins TARGET | lists FOLDER | verdict REPORT | tag NAME URL`.

What `scripts/make-sbom` and `scripts/audit` ask of the lock, and the release job of a tag.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.release.audit import verdict
from tools.release.lock import RELEASE, TARGETS, lines_for
from tools.release.tag import (
    CHANGELOG,
    PROJECT_URL,
    __version__,
    faults_of_address,
    faults_of_tag,
)


def main(argv: list[str]) -> int:
    """Do what is asked; exit code 1 for something wrong, 3 for an audit that nobody answered."""
    match argv:
        case ["targets"]:
            lines, code = list(TARGETS), 0
        case ["pins", target]:
            lines, code = list(lines_for(target, RELEASE.read_text())), 0
        case ["lists", folder]:
            write_lists(Path(folder))
            lines, code = [], 0
        case ["verdict", report]:
            file = Path(report)
            found = verdict(file.read_text() if file.exists() else "")
            lines, code = list(found.lines), int(found.outcome)
        case ["tag", name, url]:
            faults = faults_of_tag(name, __version__, CHANGELOG.read_text())
            faults += faults_of_address(PROJECT_URL, url)
            lines, code = faults or [f"{name} is version {__version__}"], int(bool(faults))
        case _:
            lines, code = [__doc__ or ""], 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


def write_lists(folder: Path) -> None:
    """Write what is pinned for each target, those that are alike once: pip-audit is slow."""
    written: set[str] = set()
    for target in TARGETS:
        text = "".join(f"{line}\n" for line in lines_for(target, RELEASE.read_text()))
        if text not in written:
            written.add(text)
            (folder / f"{target}.txt").write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
