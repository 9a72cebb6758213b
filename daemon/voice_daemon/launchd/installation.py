"""The installed service of one user: what is there, and the steps to change it.

Every operation looks first and then gives steps, so that it may be repeated, repairs what is
half there, and can be shown without being done. Knows nothing of terminals, of the
configuration's content or of the control socket.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voice_daemon import __version__
from voice_daemon.errors import NotInstalledError, ServiceError
from voice_daemon.launchd.agent import LABEL, Agent, AgentPaths, program_of
from voice_daemon.launchd.app_bundle import Bundle
from voice_daemon.launchd.launchctl import AgentState, Launchctl, NoSessionError
from voice_daemon.launchd.machine import Machine
from voice_daemon.launchd.steps import (
    Step,
    StepOutcome,
    make_folder,
    move,
    remove,
    run_program,
    unfinished,
    write_file,
)

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Installation:
    """One user's agent and app. Raises `ServiceError` on the wrong machine or for root."""

    machine: Machine
    places: AgentPaths

    def __post_init__(self) -> None:
        self.machine.check()

    @property
    def installed(self) -> bool:
        """True when launchd would find the agent at the next login."""
        return self.places.agent_file.exists()

    @property
    def loaded(self) -> bool:
        """True when launchd has the agent; where nobody is logged in, it has none."""
        try:
            return self.state() is not None
        except NoSessionError:
            return False

    def state(self) -> AgentState | None:
        """What launchd knows of the agent; None when it is not loaded. Raises `NoSessionError`."""
        return self._launchctl().state(LABEL)

    def install_steps(self, agent: Agent, bundle: Bundle, *, restart: bool) -> list[Step]:
        """Give the steps that make everything as it should be and let it run.

        `restart`: stop what runs even where no file changes.
        """
        folders = {
            self.places.log_folder: 0o700,
            self.places.agent_file.parent: 0o755,
            self.places.app.parent: 0o755,
        }
        missing = [make_folder(path, mode) for path, mode in folders.items() if not path.is_dir()]
        same_app = bundle.is_at(self.places.app)
        written = [] if self._agent_file_is(agent) else [self._write_agent(agent)]
        loaded = self.state() is not None
        stop = loaded and (restart or bool(written) or not same_app)
        built = self._building()
        return [
            *missing,
            *([self._check(self.places.app)] if same_app else self._build_steps(bundle, built)),
            *([self._bootout()] if stop else []),
            *([] if same_app else [remove(self.places.app), move(built, self.places.app)]),
            *written,
            *self._load_steps(loaded=loaded and not stop),
        ]

    def uninstall_steps(self) -> list[Step]:
        """Give the steps that remove what `install_steps` made; none when there is nothing."""
        agent_file = self.places.agent_file
        files = (agent_file, unfinished(agent_file), self.places.app, self._building())
        return [
            *([self._bootout()] if self.loaded else []),
            *(remove(path) for path in files if path.exists() or path.is_symlink()),
        ]

    def start_steps(self) -> list[Step]:
        """Give the steps after which it runs; raises `NotInstalledError`."""
        self._require()
        return self._load_steps(loaded=self.state() is not None)

    def stop_steps(self) -> list[Step]:
        """Give the steps after which it does not run until the next login or `start`."""
        self._require()
        return [self._bootout()] if self.state() is not None else []

    def restart_steps(self) -> list[Step]:
        """Give the steps that stop it in its own time and start it anew."""
        self._require()
        return [*self.stop_steps(), *self._load_steps(loaded=False)]

    def _require(self) -> None:
        if not self.installed:
            raise NotInstalledError(
                "service.not_installed",
                f"the agent is not installed: there is no {self.places.agent_file}",
                remedy="run `daemonctl install`",
            )

    def _building(self) -> Path:
        """Where the app is put together, beside its place, so that moving it is one step."""
        return self.places.app.with_name(f".{self.places.app.stem}-building.app")

    def _agent_file_is(self, agent: Agent) -> bool:
        path = self.places.agent_file
        if path.is_symlink() or not path.is_file():
            return False
        if path.stat().st_mode & _WRITABLE_BY_OTHERS:
            return False
        return path.read_bytes() == agent.property_list()

    def _write_agent(self, agent: Agent) -> Step:
        return write_file(self.places.agent_file, agent.property_list())

    def _build_steps(self, bundle: Bundle, built: Path) -> list[Step]:
        leftover = [remove(built)] if built.exists() else []
        return [*leftover, *bundle.steps_into(built), self._sign(bundle, built), self._check(built)]

    def _sign(self, bundle: Bundle, app: Path) -> Step:
        codesign = self.machine.program("codesign")
        options = ("--force", "--identifier", LABEL, "--sign", bundle.identity)

        def do() -> None:
            done = run_program((codesign, *options, app), variables=self._variables())
            if done.code != 0:
                raise ServiceError(
                    "service.not_signed",
                    f"codesign could not sign {app}: {_last_line(done)}",
                    remedy="`security find-identity -p codesigning` lists the identities that "
                    "--sign can name; without --sign none is needed",
                )

        return Step(f"run {codesign} {' '.join(options)} {app}", do)

    def _check(self, app: Path) -> Step:
        """Start the app's interpreter once: launchd would only say that it failed."""
        program = program_of(app)
        code = "import voice_daemon; print(voice_daemon.__version__)"

        def do() -> None:
            done = run_program((program, "-P", "-c", code), variables=self._variables())
            if done.code != 0 or done.out.strip() != __version__:
                raise ServiceError(
                    "service.app_does_not_start",
                    f"the copy of the interpreter does not start: {_last_line(done)}",
                    remedy="install with a Python from python.org, Homebrew or uv, and report it",
                )

        return Step(f'run {program} -P -c "{code}"', do)

    def _load_steps(self, *, loaded: bool) -> list[Step]:
        launchctl, agent_file = self._launchctl(), self.places.agent_file
        target = launchctl.target(LABEL)
        load = [
            Step(f"run launchctl enable {target}", lambda: launchctl.enable(LABEL)),
            Step(
                f"run launchctl bootstrap {launchctl.domain} {agent_file}",
                lambda: launchctl.bootstrap(LABEL, agent_file),
            ),
        ]
        kick = Step(f"run launchctl kickstart {target}", lambda: launchctl.kickstart(LABEL))
        return [kick] if loaded else [*load, kick]

    def _bootout(self) -> Step:
        launchctl = self._launchctl()
        return Step(
            f"run launchctl bootout {launchctl.target(LABEL)}", lambda: launchctl.bootout(LABEL)
        )

    def _launchctl(self) -> Launchctl:
        program, variables = self.machine.program("launchctl"), self._variables()
        return Launchctl(
            self.machine.uid,
            lambda arguments: run_program((program, *arguments), variables=variables),
        )

    def _variables(self) -> dict[str, str]:
        return self.machine.program_variables()


def _last_line(done: StepOutcome) -> str:
    lines = (done.err or done.out).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.code}"
