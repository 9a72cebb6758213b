"""Makes the agent's property list, which launchd reads, from the template in `launchd/`."""

import plistlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LABEL: Final = "io.github.voice-daemon"
"""The agent's name in launchd, and the app bundle's identifier: one name for both, for ever."""

TEMPLATE: Final = Path(__file__).with_name("agent.plist")


@dataclass(frozen=True, slots=True)
class Agent:
    """The values that differ between users; everything else is the template's."""

    program: Path
    """The app's launcher; what it starts is sealed in the app."""
    working_folder: Path
    out_log: Path
    err_log: Path
    variables: Mapping[str, str]
    """Added to the template's environment."""

    def property_list(self) -> bytes:
        """Write the agent as launchd reads it."""
        agent = plistlib.loads(TEMPLATE.read_bytes())
        agent["ProgramArguments"] = [str(self.program)]
        agent["EnvironmentVariables"].update(self.variables)
        agent["WorkingDirectory"] = str(self.working_folder)
        agent["StandardOutPath"] = str(self.out_log)
        agent["StandardErrorPath"] = str(self.err_log)
        return plistlib.dumps(agent)


@dataclass(frozen=True, slots=True)
class AgentPaths:
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
        """The daemon's standard output under launchd."""
        return self.log_folder / "launchd.out.log"

    @property
    def err_log(self) -> Path:
        """The daemon's standard error under launchd: crashes."""
        return self.log_folder / "launchd.err.log"


def program_of(app: Path) -> Path:
    """Give the executable of an app bundle of ours."""
    return app / "Contents" / "MacOS" / "voice-daemon"
