"""The Mac that a service is installed on, and the user it is for: checked before anything else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voice_daemon.errors import ServiceError
from voice_daemon.launchd.app_bundle import LAUNCHER, stable_python
from voice_daemon.launchd.steps import StepOutcome, run_program

MACOS = "darwin"
_OTHER_FOLDERS = (
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/System/Library/Frameworks/CoreServices.framework/Frameworks/LaunchServices.framework/Support",
)
"""Where macOS has programs, whatever the PATH: lsregister is on nobody's."""
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TMPDIR", "USER")
"""What a program that we run is given of our own environment, beside PATH."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, user and Python of this process."""

    platform: str
    """`sys.platform`."""
    uid: int
    home: Path
    search_path: str
    """Where programs are found: `PATH`."""
    variables: Mapping[str, str]
    """What programs are given beside `PATH`."""
    python: Path
    """The Python that runs the daemon, by a path that stays."""
    launcher: Path
    """The program for the app."""

    @classmethod
    def here(cls, environ: Mapping[str, str]) -> Machine:
        """Describe this machine and the user of this process."""
        return cls(
            platform=sys.platform,
            uid=os.getuid(),
            home=Path.home(),
            search_path=environ.get("PATH", os.defpath),
            variables={name: environ[name] for name in _PASSED_ON if name in environ},
            python=stable_python(),
            launcher=LAUNCHER,
        )

    def check(self) -> None:
        """Raise `ServiceError` where there is no launchd, or where the user is the wrong one."""
        if self.platform != MACOS:
            raise ServiceError(
                "service.not_macos",
                f"launchd is part of macOS, and this is {self.platform}",
                remedy="on Linux let systemd run `daemonctl run`: docs/install.md has a unit",
            )
        if self.uid == 0:
            raise ServiceError(
                "service.root",
                "the service belongs to the user who logs in, and this is root",
                remedy="run it again without sudo: nothing here needs root",
            )

    def program(self, name: str) -> Path:
        """Find a program of macOS; raises `ServiceError` where it is missing."""
        folders = os.pathsep.join((self.search_path, *_OTHER_FOLDERS))
        found = shutil.which(name, path=folders)
        if found is None:
            raise ServiceError(
                "service.program_missing",
                f"{name} is not on the PATH: {self.search_path}",
                remedy="it is part of macOS: add /bin and /usr/bin to PATH",
            )
        return Path(found)

    def run(self, program: str | Path, *arguments: str | Path) -> StepOutcome:
        """Run a program, one of macOS' by its name, in an environment that leads nothing astray."""
        path = program if isinstance(program, Path) else self.program(program)
        variables = {**self.variables, "PATH": self.search_path}
        return run_program((path, *arguments), variables=variables)
