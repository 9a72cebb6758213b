"""Reads requirements/release.txt: which packages and files it pins, and for which machines.

Knows nothing of how the file is made (`scripts/lock`) or of indexes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
RELEASE: Final = ROOT / "requirements" / "release.txt"

_HASH: Final = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One package at one version, and the files that may be installed for it."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The package's normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one version; raises ValueError where the line allows more."""
        (only,) = self.requirement.specifier
        if only.operator != "==":
            raise ValueError(f"{self.requirement} pins no version")
        return only.version

    def is_for(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a machine of this kind needs it."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate(dict(environment))


def read_lock(text: str) -> tuple[Pin, ...]:
    """Read a file as `uv pip compile --generate-hashes` writes it."""
    logical = text.replace("\\\n", " ").splitlines()
    return tuple(_pin(line) for line in logical if line.strip() and not line.startswith("#"))


def _pin(line: str) -> Pin:
    head, _, _ = line.partition("--hash")
    return Pin(Requirement(head.strip()), tuple(_HASH.findall(line)))


def environment(system: str, machine: str, python: str) -> dict[str, str]:
    """Give what environment markers see on a machine; `python` is `3.12`."""
    on_mac = system == "darwin"
    return {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Darwin" if on_mac else "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": system,
    }


TARGETS: Final[Mapping[str, Mapping[str, str]]] = {
    **{
        f"macos-arm64-py{python}": environment("darwin", "arm64", python)
        for python in ("3.11", "3.12", "3.13", "3.14")
    },
    **{
        f"linux-{machine}-py3.11": environment("linux", machine, "3.11")
        for machine in ("x86_64", "aarch64")
    },
}
"""The machines that the lock is for."""


def lines_for(target: str, text: str) -> Iterator[str]:
    """Give the lock again as one target needs it, without markers: what an SBOM lists."""
    for pin in read_lock(text):
        if pin.is_for(TARGETS[target]):
            hashes = " ".join(f"--hash={value}" for value in pin.hashes)
            yield f"{pin.name}=={pin.version} {hashes}"
