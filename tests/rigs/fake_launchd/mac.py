"""One user's Mac that is not there: a home folder, a login session, and `daemonctl`'s commands."""

from __future__ import annotations

import functools
import io
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rigs.fake_launchd.harness import PATIENCE_S, UID, FakeLaunchd
from rigs.macos import native_launcher
from rigs.macos.code import Bundle
from rigs.macos.programs import LOG, PROGRAMS
from rigs.macos.state import State
from rigs.macos.tcc import MICROPHONE, Tcc
from voice_daemon._lib.terminal import print_error
from voice_daemon.cli import service
from voice_daemon.cli.context import Context
from voice_daemon.cli.parser import parse
from voice_daemon.errors import VoiceDaemonError
from voice_daemon.launchd import AgentPaths, Installation, Launchctl, Machine
from voice_daemon.launchd.app_bundle import stable_python


@functools.cache
def built_launcher() -> Path:
    """Build the launcher for this machine, once."""
    return native_launcher.build(Path(tempfile.mkdtemp(prefix="launcher-")))


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@dataclass
class Mac:
    """One user's Mac. `environ` is what `daemonctl` is typed with."""

    launchd: FakeLaunchd
    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    platform: str = "darwin"
    uid: int = UID
    python: Path = field(default_factory=stable_python)
    launcher: Path = field(default_factory=built_launcher)
    screen: bool = True
    """Somebody can see the Mac's questions."""

    def __post_init__(self) -> None:
        for name in PROGRAMS:
            self.launchd.add_client(name)

    @property
    def machine(self) -> Machine:
        return Machine(
            platform=self.platform,
            uid=self.uid,
            home=self.home,
            search_path=self.launchd.search_path,
            variables={"HOME": str(self.home)},
            python=self.python,
            launcher=self.launcher,
        )

    @property
    def voice_home(self) -> Path:
        return self.home / "voice"

    @property
    def config_file(self) -> Path:
        return self.voice_home / "config.toml"

    @property
    def places(self) -> AgentPaths:
        return AgentPaths(home=self.home, log_folder=self.voice_home / "logs")

    @property
    def installation(self) -> Installation:
        return Installation(self.machine, self.places)

    def launchctl(self) -> Launchctl:
        return Launchctl(
            self.uid,
            lambda arguments: self.machine.run("launchctl", *arguments),
            bootstrap_patience_s=0.5,
        )

    def daemonctl(self, name: str, *arguments: str, ready_s: float = PATIENCE_S) -> Said:
        """Type one of the service's commands. `ready_s`: how long it waits for the daemon."""
        args = parse([name, *arguments])
        out, err = io.StringIO(), io.StringIO()
        context = Context(args.config, self.environ, out, err, machine=self.machine)
        try:
            code = service.run(args, context, ready_s=ready_s)
        except VoiceDaemonError as error:
            print_error(error, err)
            code = error.exit_code
        return Said(code, out.getvalue(), err.getvalue())

    @property
    def state(self) -> State:
        """What this Mac remembers."""
        return State(self.launchd.folder)

    @property
    def tcc(self) -> Tcc:
        """Who may use the microphone."""
        return Tcc(self.state, screen=self.screen)

    def runs(self, *beginning: str) -> list[list[str]]:
        """Give the command lines of macOS' programs that begin so."""
        log = self.launchd.folder / LOG
        lines = log.read_text().splitlines() if log.exists() else []
        commands = [shlex.split(line) for line in lines]
        return [words for words in commands if words[: len(beginning)] == list(beginning)]

    def signatures(self) -> list[list[str]]:
        """Every run of codesign that signed."""
        return [words for words in self.runs("codesign") if "--sign" in words]

    @property
    def cdhash(self) -> str:
        """The hash by which macOS knows the app."""
        signature = Bundle(self.places.app).signature()
        assert signature is not None
        return signature.cdhash

    def files(self) -> set[str]:
        """Every file in the home folder, named from it."""
        found = (path for path in self.home.rglob("*") if path.is_file())
        return {str(path.relative_to(self.home)) for path in found}


def told_commands(out: str) -> list[str]:
    """The launchctl verbs that were told."""
    lines = [line.removeprefix("would ") for line in out.splitlines()]
    return [line.split()[2] for line in lines if line.startswith("run launchctl ")]


def allow_the_microphone(mac: Mac) -> None:
    mac.tcc.answer(MICROPHONE, mac.places.program, allowed=True)


def python_in(environment: Path) -> Path:
    """Make an environment with the daemon in it; give its Python."""
    environment.symlink_to(sys.prefix)
    return environment / "bin" / "python"
