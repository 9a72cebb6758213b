"""Where the service's files are for one user. Names places only, like `voice_daemon.paths`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voice_daemon.launchd.agent import LABEL

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The files that an installation makes, and no others."""

    home: Path
    log_folder: Path

    @property
    def agent_file(self) -> Path:
        """The property list; launchd wants it to be named like its label."""
        return self.home / "Library" / "LaunchAgents" / f"{LABEL}.plist"

    @property
    def app(self) -> Path:
        """The app bundle that macOS knows the daemon by."""
        return self.home / "Applications" / "VoiceDaemon.app"

    @property
    def program(self) -> Path:
        """The bundle's executable, which launchd starts."""
        return program_of(self.app)

    @property
    def out_log(self) -> Path:
        """What the daemon wrote to its standard output under launchd."""
        return self.log_folder / "launchd.out.log"

    @property
    def err_log(self) -> Path:
        """What the daemon wrote to its standard error under launchd: crashes."""
        return self.log_folder / "launchd.err.log"


def program_of(app: Path) -> Path:
    """Give the executable of an app bundle of ours."""
    return app / "Contents" / "MacOS" / "voice-daemon"
